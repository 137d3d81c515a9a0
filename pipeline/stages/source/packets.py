"""The packets of a file's video stream, and how far the file was read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

SHORT_S = 1.0
"""A clip of at most so many seconds is a short one."""
AHEAD_BYTES = 64_000_000
"""Packets that are read ahead, to see whether a clip is short, take no more memory than this."""


class PacketReader:
    """Iterates the video packets of a file or a device, with the empty one last that flushes the
    decoder. `error` is what ended the reading early.

    Packets of the other streams are read with them and left; `others_end_s` is where the last of
    these ends, seconds by its stamp.
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

    def look_ahead(self, period_s: float) -> int | None:
        """Before the first packet is taken: how many packets with a picture there are, if they
        last SHORT_S at most, each `period_s` where it has no stamp; None for more."""
        stamps: list[float] = []
        size = 0
        while (packet := self._read()) is not None:
            self._ahead.append(packet)
            if packet.size:
                size += packet.size
                stamps.append(_stamp_s(packet, len(stamps) * period_s))
            lasts_s = max(stamps, default=0) - min(stamps, default=0) + period_s
            if len(stamps) > 1 and (lasts_s > SHORT_S + period_s / 2 or size > AHEAD_BYTES):
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
