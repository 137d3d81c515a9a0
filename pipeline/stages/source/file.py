"""The first stage: pictures out of a file or a webcam, whatever FFmpeg can decode.

FFmpeg gets a file that is already open, and no protocol: a playlist cannot make it read another
file or reach the network.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.clock import Clock, wall_clock
from pipeline.closing import Closing
from pipeline.errors import InputError
from pipeline.frames import Frame, FrameHeader
from pipeline.redact import redacted
from pipeline.stages.source.address import check_webcam, open_local, webcam_device
from pipeline.stages.source.media_time import MediaTime
from pipeline.stages.source.picture import ToRgb

DEFAULT_FPS = 25.0
"""Assumed where a file does not tell its rate."""
SHORT_S, SHORT_SHARE = 1.0, 0.05
"""A file whose pictures end earlier than it says, by more than both, is called damaged: the lengths
of sound and pictures, which many files state as one, differ by less."""


class VideoSource(Closing):
    """The decoded frames of one file or webcam, in order. Iterate it once, close it afterwards.

    By the file's own word: `fps`, pictures in a second on average; `duration_s`, seconds, and
    `frame_count`, about, both None where nobody knows, as of a webcam.

    `url` is a path, `file://...`, `webcam:N` or `/dev/videoN`. Of a file, `captured_ms` is
    `origin_ms` plus the media time, so every reading gives the same frames to the millisecond. With
    `realtime` it plays at its own pace instead, and `captured_ms` is the wall time at which a frame
    is due. A webcam's frame is stamped when it arrives.

    Pictures are turned and mirrored as the file asks; media time starts at 0 and rises strictly
    (see MediaTime). Packets that cannot be decoded are left out and a truncated file ends where it
    ends; `damage` then says so.

    Raises InputError: at once for what cannot be opened or holds no video, at the end if not one
    picture could be decoded, in between if a webcam is lost.
    """

    reconnects = 0

    def __init__(
        self,
        url: str | Path,
        camera: str,
        run: str,
        *,
        clock: Clock = wall_clock,
        origin_ms: int = 0,
        realtime: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.camera, self.run = camera, run
        self._clock, self._sleep = clock, sleep
        self._origin_ms = origin_ms
        self._realtime = realtime
        self._live = webcam_device(str(url)) is not None
        self._where = redacted(str(url))
        with ExitStack() as stack:
            self._container = _open(str(url), stack)
            self._stream = _video_stream(self._container, self._where)
            self._resources = stack.pop_all()
        self.fps = float(self._stream.average_rate or self._stream.guessed_rate or DEFAULT_FPS)
        self.duration_s = None if self._live else _duration_s(self._container, self._stream)
        self.frame_count = self._stream.frames or (
            None if self.duration_s is None else round(self.duration_s * self.fps)
        )
        self._to_rgb = ToRgb()
        self._media_time = MediaTime(1 / self.fps)
        self._index = 0
        self._end_s = 0.0
        self._damaged_packets = 0
        self._ended_early = ""

    def close(self) -> None:
        """Give the file or the device back. May be called twice."""
        self._resources.close()

    @property
    def decoded(self) -> int:
        """Frames decoded so far."""
        return self._index

    @property
    def ending(self) -> str:
        """Why there are no more frames."""
        return self.damage or "end of file"

    @property
    def shed(self) -> dict[str, int]:
        """Frames given up, by cause: of a file, none."""
        return {}

    @property
    def damage(self) -> str:
        """What was wrong with the file as far as it was read; "" as long as nothing was."""
        packets = f"damaged packets: {self._damaged_packets}" if self._damaged_packets else ""
        return ", ".join(filter(None, (packets, self._ended_early)))

    def __iter__(self) -> Iterator[Frame]:
        for picture in self._pictures():
            pts_s = self._media_time.of(picture.time)
            self._end_s = pts_s + _shown_s(picture)
            captured_ms, received_ms = self._times(pts_s)
            image = self._to_rgb(picture)
            header = FrameHeader(
                camera=self.camera,
                run=self.run,
                index=self._index,
                pts_s=pts_s,
                captured_ms=captured_ms,
                received_ms=received_ms,
                clock="arrival" if self._live or self._realtime else "media",
                width=image.shape[1],
                height=image.shape[0],
            )
            self._index += 1
            yield Frame(header, image)
        self._check_end()

    def _pictures(self) -> Iterator[VideoFrame]:
        packets = self._container.demux(self._stream)
        while (packet := self._next_packet(packets)) is not None:
            try:
                pictures = packet.decode()
            except av.FFmpegError:
                self._damaged_packets += 1
                continue
            self._damaged_packets += packet.is_corrupt
            yield from pictures

    def _next_packet(self, packets: Iterator[Packet[VideoStream]]) -> Packet[VideoStream] | None:
        reason: av.FFmpegError | OSError | None = None
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError) as error:
            packet, reason = None, error
            self._ended_early = f"reading stopped at {self._end_s:.1f} s ({error.strerror})"
        if packet is None and self._live:
            raise InputError("webcam lost", self._where, "plug it in again") from reason
        return packet

    def _check_end(self) -> None:
        if self._index == 0:
            remedy = "copy it again, or convert it to H.264"
            raise InputError("not one picture could be decoded", self._where, remedy)
        whole_s = self.duration_s or 0.0
        if not self._ended_early and whole_s - self._end_s > max(SHORT_S, SHORT_SHARE * whole_s):
            self._ended_early = f"ends at {self._end_s:.1f} s of {whole_s:.1f} s"

    def _times(self, pts_s: float) -> tuple[int, int]:
        """Captured and received, UTC milliseconds; waits for a frame that is not due yet."""
        media_ms = round(pts_s * 1000)
        if self._live:
            now_ms = self._clock()
            return now_ms, now_ms
        if not self._realtime:
            return self._origin_ms + media_ms, self._origin_ms + media_ms
        if self._index == 0:
            self._origin_ms = self._clock() - media_ms
        due_ms = self._origin_ms + media_ms
        while (now_ms := self._clock()) < due_ms:
            self._sleep((due_ms - now_ms) / 1000)
        return due_ms, now_ms


def _open(url: str, resources: ExitStack) -> InputContainer:
    device, where = webcam_device(url), redacted(url)
    try:
        if device is not None:
            check_webcam(device)
            return resources.enter_context(av.open(device, format="v4l2"))
        file = resources.enter_context(open_local(url))
        options = {"protocol_whitelist": "none"}
        return resources.enter_context(
            av.open(file, "r", options=options, metadata_errors="replace")
        )
    except av.FFmpegError as error:
        if device is not None:
            remedy = "give the device that takes pictures, close other programs that use it"
            raise InputError(f"not a webcam, or busy ({error.strerror})", where, remedy) from error
        raise InputError(
            "not a video, or one without its index", where, "give a whole mp4, mov, mkv, avi or gif"
        ) from error


def _video_stream(container: InputContainer, where: str) -> VideoStream:
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
        raise InputError("no video in it", where, "give a file with a video track")
    stream.thread_count = 1
    return stream


def _duration_s(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / av.time_base


def _shown_s(picture: VideoFrame) -> float:
    return float(picture.duration * picture.time_base) if picture.time_base else 0.0
