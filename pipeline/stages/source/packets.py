"""The packets of a file's video stream, and what was damaged in them."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

SHORT_CLIP_S = 1.0
"""A clip of at most so many seconds is a short one."""
AHEAD_BYTES = 64_000_000
"""Packets that are read ahead, to see whether a clip is short, take no more memory than this."""


class PacketReader:
    """Iterates the video packets of a file or a device, with the empty one last that flushes the
    decoder. `error` is what ended the reading early.

    Packets of other streams are read and dropped; `others_end_s` is where the last of them ends,
    seconds by its time stamp.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._packets: Iterator[Packet[Any]] = container.demux()
        self._stream = stream
        self._ahead: deque[Packet[VideoStream]] = deque()
        self.error: av.FFmpegError | OSError | None = None
        self.others_end_s = 0.0

    def __iter__(self) -> Iterator[Packet[VideoStream]]:
        while (packet := self._ahead.popleft() if self._ahead else self._read()) is not None:
            yield packet

    def count_if_short(self, period_s: float) -> int | None:
        """How many packets hold a frame, if these last SHORT_CLIP_S at most, each `period_s` where
        it has no stamp; None for more."""
        stamps: list[float] = []
        size = 0
        while (packet := self._read()) is not None:
            self._ahead.append(packet)
            if packet.size:
                size += packet.size
                stamps.append(_stamp_s(packet, len(stamps) * period_s))
            lasts_s = max(stamps, default=0) - min(stamps, default=0) + period_s
            if len(stamps) > 1 and (lasts_s > SHORT_CLIP_S + period_s / 2 or size > AHEAD_BYTES):
                return None
        return len(stamps)

    def _read(self) -> Packet[VideoStream] | None:
        while self.error is None:
            try:
                packet = next(self._packets, None)
            except (av.FFmpegError, OSError) as error:
                self.error = error
                break
            if packet is None or packet.stream is self._stream:
                return packet
            if packet.size:
                length_s = float((packet.duration or 0) * packet.time_base)
                self.others_end_s = max(self.others_end_s, _stamp_s(packet, 0.0) + length_s)
        return None


def _stamp_s(packet: Packet[Any], otherwise_s: float) -> float:
    stamp = packet.pts if packet.pts is not None else packet.dts
    return otherwise_s if stamp is None else float(stamp * packet.time_base)


MISSING_S, MISSING_SHARE = 1.0, 0.05
"""A file whose frames end earlier than it declares, by more than both, is damaged: seconds, and a
share of its duration."""
MEASURED = {"mpegts", "mpeg"}
"""Formats that declare no duration: FFmpeg takes the last stamp in the file for it."""
JOIN_PACKETS = 2
"""A packet that FFmpeg marks as corrupt so shortly before a key frame is taken for whole: it is the
last before two recordings were joined, where the counters of transport packets jump."""
JPEG_SCAN, JPEG_END = b"\xff\xda", b"\xff\xd9"
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")


class Damage:
    """Counts damaged packets, and notes whether a file ended before its video stream's end."""

    def __init__(self, is_jpeg: bool = False) -> None:
        """`is_jpeg`: each packet is the whole of a JPEG file."""
        self._is_jpeg = is_jpeg
        self._failed = self._marked = self._corrupt = 0
        self._since_mark = JOIN_PACKETS + 1
        self.ended_early = ""

    def __str__(self) -> str:
        """One line, "" as long as nothing was wrong."""
        # A corrupt frame mostly comes from a packet that was marked as corrupt: count it once.
        count = self._failed + max(self._marked, self._corrupt)
        packets = f"damaged packets: {count}" if count else ""
        return ", ".join(filter(None, (packets, self.ended_early)))

    def add_undecodable(self) -> None:
        """Count a packet that could not be decoded."""
        self._failed += 1

    def add_decoded(self, packet: Packet[VideoStream], frames: list[VideoFrame]) -> None:
        """Count what was damaged in a packet that was decoded into `frames`."""
        self._since_mark += 1
        if packet.is_keyframe and self._since_mark <= JOIN_PACKETS:
            self._marked, self._since_mark = self._marked - 1, JOIN_PACKETS + 1
        if packet.is_corrupt:
            self._marked += 1
            # Where every packet is a key frame, the next one is no sign of a join.
            self._since_mark = JOIN_PACKETS + 1 if packet.is_keyframe else 0
        self._corrupt += sum(frame.is_corrupt for frame in frames)
        if self._is_jpeg and packet.size and is_truncated_jpeg(bytes(packet)):
            self.ended_early = "the file ends before the image does"

    def check_end(self, whole_s: float | None, read_s: float) -> None:
        """Note at the end of the file that `read_s` seconds were read of `whole_s`, if known."""
        if whole_s is not None and whole_s - read_s > max(MISSING_S, MISSING_SHARE * whole_s):
            self.ended_early = f"ends at {read_s:.1f} s of {whole_s:.1f} s"


def is_truncated_jpeg(data: bytes) -> bool:
    """Whether a JPEG lacks its end: FFmpeg fills the missing part with grey and reports nothing.

    The marker that ends an image cannot occur within its compressed data, but an embedded thumbnail
    has one of its own: only what follows the last start of a scan counts.
    """
    return JPEG_END not in data[data.rfind(JPEG_SCAN) :]


class DurationCheck:
    """Compares how long a file's video lasts as the file declares it, and as it was read."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.duration_s = _own_duration_s(stream)
        self._is_own = self.duration_s is not None
        if self.duration_s is None and container.duration is not None:
            self.duration_s = container.duration / av.time_base
        self._is_declared = container.format.name not in MEASURED
        self._first_s: float | None = None
        self._end_s = 0.0

    def add(self, frame: VideoFrame) -> None:
        """A frame came out of the file."""
        if frame.time is not None and frame.time_base:
            end_s = frame.time + float(frame.duration * frame.time_base)
            self._first_s = frame.time if self._first_s is None else min(self._first_s, frame.time)
            self._end_s = max(self._end_s, end_s)

    def compare(self, others_end_s: float) -> tuple[float | None, float]:
        """Seconds of video as declared, None where the file does not say, and as read.

        The other streams, which end at `others_end_s`, count where the file declares only its total
        duration.
        """
        if self._first_s is None or self.duration_s is None or not self._is_declared:
            return None, 0.0
        end_s = self._end_s if self._is_own else max(self._end_s, others_end_s)
        # Some formats count the duration from the first stamp, others, such as fragmented mp4, from
        # zero: this is the earliest end that both allow.
        whole_end_s = self.duration_s + min(self._first_s, 0.0)
        return whole_end_s - self._first_s, end_s - self._first_s


def _own_duration_s(stream: VideoStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # Matroska has no field for it; by convention its writers use this tag.
    tag = _CLOCK.match(stream.metadata.get("DURATION", ""))
    return None if tag is None else int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
