"""Decodes the packets of a live camera, and knows what became of each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from models.frame_size import FrameLimit
from pipeline.frames import UNDECODABLE
from pipeline.stages.source.frame_decoder import FrameDecoder, FrameTooLarge

REORDERED = 16
"""A picture comes out at most so many packets late: H.264 and H.265 keep no more for B frames."""

GiveUp = Callable[[str, int], None]
"""Told of pictures that came and are not given: the cause, and how many."""


@dataclass(frozen=True)
class _Told:
    """What travels with a packet through the decoder."""

    number: int
    camera_ms: float | None


class Decoder:
    """Gives each packet's picture with the camera's word on its time. What is no picture, or comes
    damaged from the decoder, is given up as UNDECODABLE. Raises FrameTooLarge as FrameDecoder."""

    def __init__(self, stream: VideoStream, give_up: GiveUp, limit: FrameLimit) -> None:
        self._codec, self._give_up = stream.codec_context, give_up
        self._frames = FrameDecoder(stream, limit)
        self._time_base = stream.time_base
        self._codec.copy_opaque = True
        self._number = 0
        self._pending: set[int] = set()

    def decode(
        self, packet: Packet[Any], camera_ms: float | None
    ) -> Iterator[tuple[VideoFrame, float | None]]:
        """The pictures that are ready; `camera_ms` of the packet, UTC."""
        if not packet.size:
            yield from self._ready(packet)
            return
        self._number += 1
        packet.opaque = _Told(self._number, camera_ms)
        self._pending.add(self._number)
        try:
            yield from self._ready(packet)
        except av.FFmpegError:
            self._drop({self._number})
        self._drop({number for number in self._pending if number <= self._number - 2 * REORDERED})

    def flush(self) -> Iterator[tuple[VideoFrame, float | None]]:
        """The pictures that it still holds: no packet comes any more."""
        with suppress(av.FFmpegError, FrameTooLarge):
            yield from self._ready(None)
        self.end(UNDECODABLE)

    def end(self, cause: str) -> None:
        """Give up what it still holds."""
        if self._pending:
            self._give_up(cause, len(self._pending))
            self._pending.clear()

    def _ready(self, packet: Packet[Any] | None) -> Iterator[tuple[VideoFrame, float | None]]:
        for picture in self._frames.decode(packet):
            told = picture.opaque
            assert isinstance(told, _Told)
            if packet is None and self._time_base:
                picture.time_base = self._time_base
            late = REORDERED if self._codec.has_b_frames else 0
            if picture.is_corrupt:
                self._drop({told.number})
            else:
                self._pending.discard(told.number)
                yield picture, told.camera_ms
            self._drop({number for number in self._pending if number < told.number - late})

    def _drop(self, numbers: set[int]) -> None:
        dropped = numbers & self._pending
        self._pending -= dropped
        if dropped:
            self._give_up(UNDECODABLE, len(dropped))
