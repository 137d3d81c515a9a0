"""The first stage: frames out of a file or a webcam, whatever FFmpeg can decode.

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
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from models.frame_size import DEFAULT_LIMIT, FrameLimit
from pipeline.clock import Clock, wall_clock
from pipeline.closing import Closing
from pipeline.errors import InputError
from pipeline.frames import Counts, Frame, FrameHeader
from pipeline.redact import redact
from pipeline.stages.frame_sampler import FrameSampler
from pipeline.stages.source.address import check_webcam, open_local, webcam_device
from pipeline.stages.source.base import DEFAULT_FPS, Source
from pipeline.stages.source.decoding import FrameDecoder, FrameTooLarge, decoder_options
from pipeline.stages.source.images import DecodedImage, ToRgb
from pipeline.stages.source.packets import Damage, DurationCheck, PacketReader
from pipeline.stages.source.timing import DecodeOrder, MediaTime

IMAGE_FORMATS = {"jpeg_pipe", "image2"}
"""FFmpeg's names of a JPEG file: the second is its guess where the end is missing."""
ONLY_DECODE_ORDER = {"avi"}
"""Formats that store no time of showing: what FFmpeg makes of it is wrong with B frames."""

NOT_DECODED, CONVERT_REMEDY = (
    "not one frame could be decoded",
    "copy it again, or convert it to H.264",
)


class VideoSource(Closing, Source):
    """The decoded frames of one file or webcam, in order. Iterate it once, close it afterwards.

    As the file declares: `fps`, frames a second on average; `duration_s`, seconds, and
    `frame_count`, about, both None where nobody knows, as of a webcam.

    `url` is a path, `file://...`, `webcam:N` or `/dev/videoN`. Of a file, `captured_ms` is
    `origin_ms` plus the media time, so every reading gives the same frames to the millisecond. With
    `realtime` it plays at its own pace instead, and `captured_ms` is the wall time at which a frame
    is due. A webcam's frame is stamped when it arrives. `analyse_fps`: what `sampler` picks.

    Frames are rotated and mirrored as the file asks, and their pixels are square; media time
    starts at 0 and rises strictly (see MediaTime). Packets that cannot be decoded are left out and
    a truncated file ends where it ends; `damage` then says so.

    `short_clip_frames`: how many frames a clip has that lasts packets.SHORT_CLIP_S at most; None
    for a longer one, and where it is not read as a file: a webcam, `realtime`.

    Raises InputError: at once for what cannot be opened or holds no video, at the end if not one
    frame could be decoded, in between if a webcam is lost, and for a frame larger than `limit`,
    before it is decoded.
    """

    def __init__(
        self,
        url: str | Path,
        camera: str,
        run: str,
        *,
        clock: Clock = wall_clock,
        origin_ms: int = 0,
        realtime: bool = False,
        limit: FrameLimit = DEFAULT_LIMIT,
        analyse_fps: float = 0.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.camera, self.run = camera, run
        self._clock, self._sleep = clock, sleep
        self._origin_ms = origin_ms
        self._realtime = realtime
        self.is_live = webcam_device(str(url)) is not None
        self.sampler = FrameSampler(analyse_fps)
        self._where = redact(str(url))
        with ExitStack() as stack:
            container = _open(str(url), stack, limit)
            stream = _video_stream(container, self._where)
            try:
                self._decoder = FrameDecoder(stream, limit)
            except FrameTooLarge as error:
                raise self._too_large(error) from error
            self._resources = stack.pop_all()
        only_order = container.format.name in ONLY_DECODE_ORDER
        # With B frames, an AVI doubles rate and count: half of its packets are empty.
        rate = None if only_order else stream.average_rate
        self.fps = float(rate or stream.guessed_rate or DEFAULT_FPS)
        is_jpeg = container.format.name in IMAGE_FORMATS and stream.codec_context.name == "mjpeg"
        self._duration, self._damage = DurationCheck(container, stream), Damage(is_jpeg)
        self.duration_s = None if self.is_live else self._duration.duration_s
        self.frame_count = (0 if only_order else stream.frames) or (
            None if self.duration_s is None else round(self.duration_s * self.fps)
        )
        self._reader = PacketReader(container, stream)
        as_file = not (self.is_live or realtime)
        self.short_clip_frames = self._reader.count_if_short(1 / self.fps) if as_file else None
        self._to_rgb = ToRgb()
        self._stamp: Callable[[VideoFrame], float | None] = (
            DecodeOrder(1 / self.fps).of if only_order else _shown_at
        )
        self._media_time = MediaTime(1 / self.fps)
        self._index = 0
        self._end_s = 0.0

    def close(self) -> None:
        """Close the file or the device. May be called twice."""
        self._resources.close()

    def counts(self) -> Counts:
        """Frames decoded so far, and those that `sampler` skipped; none is shed."""
        return Counts(self._index, self.sampler.skipped, {})

    @property
    def ending(self) -> str:
        """Why there are no more frames."""
        return self.damage or "end of file"

    @property
    def damage(self) -> str:
        """What was damaged in the file as far as it was read; "" as long as nothing was."""
        return str(self._damage)

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._frames():
            pts_s = self._media_time.of(self._stamp(frame))
            self._end_s = pts_s + _length_s(frame)
            captured_ms, received_ms = self._times(pts_s)
            image = DecodedImage(frame, self._to_rgb)
            header = FrameHeader(
                camera=self.camera,
                run=self.run,
                index=self._index,
                pts_s=pts_s,
                captured_ms=captured_ms,
                received_ms=received_ms,
                clock="arrival" if self.is_live or self._realtime else "media",
                width=image.width,
                height=image.height,
            )
            self._index += 1
            yield Frame(header, image)
        self._check_end()

    def _frames(self) -> Iterator[VideoFrame]:
        for packet in self._reader:
            try:
                frames = self._decoder.decode(packet)
            except FrameTooLarge as error:
                raise self._too_large(error) from error
            except av.FFmpegError:
                self._damage.add_undecodable()
                continue
            self._damage.add_decoded(packet, frames)
            for frame in frames:
                self._duration.add(frame)
                yield frame

    def _check_end(self) -> None:
        error = self._reader.error
        if self.is_live:
            raise InputError("webcam lost", self._where, "plug it in again") from error
        if self._index == 0:
            raise InputError(NOT_DECODED, self._where, CONVERT_REMEDY)
        if error is not None:
            reason = f"reading stopped at {self._end_s:.1f} s ({error.strerror})"
            self._damage.ended_early = reason
        else:
            self._damage.check_end(*self._duration.compare(self._reader.others_end_s))

    def _too_large(self, error: FrameTooLarge) -> InputError:
        remedy = "scale it down, or raise source.max_side_px and source.max_megapixels"
        return InputError(str(error), self._where, remedy)

    def _times(self, pts_s: float) -> tuple[int, int]:
        """Captured and received, UTC milliseconds; waits for a frame that is not due yet."""
        media_ms = round(pts_s * 1000)
        if self.is_live:
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


def _open(url: str, resources: ExitStack, limit: FrameLimit) -> InputContainer:
    device, where = webcam_device(url), redact(url)
    try:
        if device is not None:
            check_webcam(device)
            options = decoder_options(limit)
            return resources.enter_context(av.open(device, format="v4l2", options=options))
        file = resources.enter_context(open_local(url))
        # Without the second, FFmpeg takes a stamp that falls for a counter that ran over, and adds
        # the 26.5 hours of a round; MediaTime knows better.
        options = {"protocol_whitelist": "none", "correct_ts_overflow": "0"}
        options |= decoder_options(limit)
        return resources.enter_context(
            av.open(file, "r", options=options, metadata_errors="replace")
        )
    except av.FFmpegError as error:
        if device is not None:
            remedy = "give the device that takes frames, close other programs that use it"
            raise InputError(f"not a webcam, or busy ({error.strerror})", where, remedy) from error
        raise InputError(
            "not a video, or one without its index", where, "give a whole mp4, mov, mkv, avi or gif"
        ) from error


def _video_stream(container: InputContainer, where: str) -> VideoStream:
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
        raise InputError("no video in it", where, "give a file with a video track")
    if stream.codec_context is None:
        raise InputError(NOT_DECODED, where, CONVERT_REMEDY)
    stream.thread_count = 1
    return stream


def _shown_at(frame: VideoFrame) -> float | None:
    return frame.time


def _length_s(frame: VideoFrame) -> float:
    return float(frame.duration * frame.time_base) if frame.time_base else 0.0
