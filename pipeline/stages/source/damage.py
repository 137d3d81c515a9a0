"""What was wrong with a file, as far as it was read."""

from __future__ import annotations

import re

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

SHORT_S, SHORT_SHARE = 1.0, 0.05
"""A file whose pictures end earlier than it says, by more than both, is called damaged."""
MEASURED = {"mpegts", "mpeg"}
"""Formats that declare no duration: FFmpeg takes the last stamp in the file for it."""
JOIN_PACKETS = 2
"""A packet that is marked as damaged so shortly before a key frame may be whole: it is the last
before two recordings were joined, where the numbers of transport packets do not go on."""
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")


class Damage:
    """Counts damaged packets, and tells whether a file ended before its video stream's end."""

    def __init__(self) -> None:
        self._failed = self._marked = self._spoilt = 0
        self._since_mark = JOIN_PACKETS + 1
        self.ended_early = ""

    def __str__(self) -> str:
        """One line, "" as long as nothing was wrong."""
        # A picture that came out spoilt is mostly one whose packet was marked.
        count = self._failed + max(self._marked, self._spoilt)
        packets = f"damaged packets: {count}" if count else ""
        return ", ".join(filter(None, (packets, self.ended_early)))

    def failed(self) -> None:
        """A packet could not be decoded."""
        self._failed += 1

    def decoded(self, packet: Packet[VideoStream], frames: list[VideoFrame]) -> None:
        """A packet was decoded."""
        self._since_mark += 1
        if packet.is_keyframe and self._since_mark <= JOIN_PACKETS:
            self._marked, self._since_mark = self._marked - 1, JOIN_PACKETS + 1
        if packet.is_corrupt:
            self._marked += 1
            # Where every packet is a key frame, one after the mark means nothing.
            self._since_mark = JOIN_PACKETS + 1 if packet.is_keyframe else 0
        self._spoilt += sum(frame.is_corrupt for frame in frames)

    def check_end(self, whole_s: float | None, read_timeout_s: float) -> None:
        """The file is over: `read_timeout_s` seconds of `whole_s`, where that is known."""
        if whole_s is not None and whole_s - read_timeout_s > max(SHORT_S, SHORT_SHARE * whole_s):
            self.ended_early = f"ends at {read_timeout_s:.1f} s of {whole_s:.1f} s"


class Span:
    """From where to where the stamps of a file's pictures go, by its own word and as read."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.duration_s = _own_duration_s(stream)
        self._is_own = self.duration_s is not None
        if self.duration_s is None and container.duration is not None:
            self.duration_s = container.duration / av.time_base
        self._is_declared = container.format.name not in MEASURED
        self._first_s: float | None = None
        self._end_s = 0.0

    def saw(self, frame: VideoFrame) -> None:
        """A frame came out of the file."""
        if frame.time is not None and frame.time_base:
            end_s = frame.time + float(frame.duration * frame.time_base)
            self._first_s = frame.time if self._first_s is None else min(self._first_s, frame.time)
            self._end_s = max(self._end_s, end_s)

    def read_of(self, others_end_s: float) -> tuple[float | None, float]:
        """Seconds of pictures that there should be, None where the file does not say, and that
        were read. The other streams, that end at `others_end_s`, count where the file tells only
        how long all of it is.
        """
        if self._first_s is None or self.duration_s is None or not self._is_declared:
            return None, 0.0
        end_s = self._end_s if self._is_own else max(self._end_s, others_end_s)
        # The duration of some formats counts from the first stamp, of others, as fragmented mp4,
        # from zero: with late stamps the end lies here at the earliest.
        whole_end_s = self.duration_s + min(self._first_s, 0.0)
        return whole_end_s - self._first_s, end_s - self._first_s


def _own_duration_s(stream: VideoStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # Matroska has no field for it, and those who write it agreed on this tag.
    told = _CLOCK.match(stream.metadata.get("DURATION", ""))
    return None if told is None else int(told[1]) * 3600 + int(told[2]) * 60 + float(told[3])
