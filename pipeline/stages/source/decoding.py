"""From packets to frames: decoded within the size limit, with square pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av import error
from av.filter import Graph
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from models.frame_size import FrameLimit
from pipeline.frames import UNDECODABLE

MAX_STRETCH = 4
"""A larger ratio of pixel width and height is an error in a header. Real ones reach 2.9: half of
576 lines, or 352 of 704 columns, each shown as 16:9."""
SLIGHT = 0.02
"""A ratio so near to 1 is ignored: rounding in cameras gives 9409:9408 and the like, and scaling
costs sharpness."""


class FrameTooLarge(Exception):
    """A frame is larger than allowed; the text says how large, as far as is known."""


class FrameDecoder:
    """Decodes the packets of one video stream, that of a file or a live camera.

    What is larger than `limit` is refused before it is decoded, also when the size changes in
    mid-stream. Frames whose pixels are not square are scaled so that they are, enlarged where that
    stays within the limit; the container's ratio goes before the frame's own, and one of more than
    MAX_STRETCH, or that is no ratio, is ignored. Turning is for later: the ratio is that of the
    frame as it is stored.

    Raises FrameTooLarge, also when it is made, where the stream's header tells the size.
    """

    def __init__(self, stream: VideoStream, limit: FrameLimit) -> None:
        self._codec, self._limit = stream.codec_context, limit
        self._codec.options = decoder_options(limit)
        # FFmpeg's guess is the container's word if there is one, else the codec's.
        guess, own = stream.sample_aspect_ratio, self._codec.sample_aspect_ratio
        self._container_ratio = guess if guess and guess != own else None
        self._stretches = False
        self._to_square = FrameFilter(("scale", square_size(self._container_ratio, limit)))
        self._check()

    def decode(self, packet: Packet[Any] | None) -> list[VideoFrame]:
        """The frames that come out when a packet goes in; None and an empty one flush the decoder.

        Raises FFmpegError for a damaged one.
        """
        try:
            frames = self._codec.decode(packet)
        except error.ArgumentError as fault:
            # All that a decoder raises where it may not allocate a frame; it has forgotten the
            # size.
            if self._codec.is_open and not self._codec.width:
                raise FrameTooLarge(self._limit.refusal()) from fault
            raise
        finally:
            self._check()
        self._stretches |= is_stretched(self._container_ratio or self._codec.sample_aspect_ratio)
        return [self._to_square(frame) for frame in frames] if self._stretches else frames

    def _check(self) -> None:
        width, height = self._codec.width, self._codec.height
        if not self._limit.allows(width, height):
            raise FrameTooLarge(self._limit.refusal(width, height))


def decoder_options(limit: FrameLimit) -> dict[str, str]:
    """FFmpeg's options that keep a decoder from frames of more pixels, also while it probes."""
    return {"max_pixels": str(limit.pixels)}


def is_stretched(ratio: Fraction | None) -> bool:
    """Whether pixels of this ratio, width to height, are to be made square.

    >>> [is_stretched(ratio) for ratio in (Fraction(4, 3), Fraction(1), None, Fraction(1000))]
    [True, False, False, False]
    """
    return ratio is not None and (
        Fraction(1, MAX_STRETCH) <= ratio <= MAX_STRETCH and abs(ratio - 1) > SLIGHT
    )


def square_size(container_ratio: Fraction | None, limit: FrameLimit) -> str:
    """Arguments of FFmpeg's `scale`, for every frame by its own ratio, or the container's.

    The shorter side of the pixels is enlarged, by less where the frame would grow beyond the limit.
    """
    ratio = str(float(container_ratio)) if container_ratio else "sar"
    least = 1 / MAX_STRETCH
    usable = f"between({ratio},{least},{MAX_STRETCH})*gt(abs({ratio}-1),{SLIGHT})"
    side, pixels = limit.side_px, limit.pixels
    room = f"min(min({side}/iw,{side}*ld(0)/ih),sqrt({pixels}*ld(0)/iw/ih))"
    # Registers: 0 the ratio, 1 what the width grows by. The thousandth is for rounding.
    known = f"0*st(0,if({usable},{ratio},1))+0*st(1,min(max(1,ld(0)),{room}))"
    width, height = "max(1,floor(iw*ld(1)+.001))", "max(1,floor(ih*ld(1)/ld(0)+.001))"
    return f"eval=frame:w={known}+{width}:h={known}+{height}"


class FrameFilter:
    """A chain of FFmpeg's filters, each a name and its arguments, that gives one frame for one.

    Time stamps, and what is attached to a frame, pass unchanged. Frames may change in size and
    format.
    """

    def __init__(self, *steps: tuple[str, str]) -> None:
        self._steps = steps
        self._shape: tuple[int, int, str] | None = None
        self._graph = Graph()

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        """The filtered frame."""
        shape = frame.width, frame.height, frame.format.name
        if shape != self._shape:
            self._graph, self._shape = self._new_graph(frame), shape
        self._graph.vpush(frame)
        filtered = self._graph.vpull()
        filtered.pts, filtered.dts, filtered.duration = frame.pts, frame.dts, frame.duration
        # `opaque` must not be copied: FFmpeg passes it on, and av would drop it with the first
        # frame. A flushed frame has no time base in av, which cannot be set to None.
        if frame.time_base is not None:
            filtered.time_base = frame.time_base
        return filtered

    def _new_graph(self, frame: VideoFrame) -> Graph:
        graph = Graph()
        # One thread, as for decoding: cameras share the cores.
        graph.threads = 1
        # Any time base will do: no filter here uses it, and some streams have none.
        nodes = [
            graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1)
            ),
            *(graph.add(name, arguments) for name, arguments in self._steps),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*nodes)
        graph.configure()
        return graph


REORDERED = 16
"""A frame leaves the decoder at most so many packets late: the reordering of B frames in H.264 and
H.265 needs no more."""

OnShed = Callable[[str, int], None]
"""Called for frames that arrived and are shed: the cause, and how many."""


@dataclass(frozen=True)
class _PacketInfo:
    """Travels with a packet through the decoder, to its frame."""

    number: int
    camera_ms: float | None


class LiveDecoder:
    """Decodes the packets of a live camera, each frame with the camera's time of its packet, and
    accounts for every packet: one that gives no frame, or a corrupt one, is shed as UNDECODABLE.
    Raises FrameTooLarge as FrameDecoder does."""

    def __init__(self, stream: VideoStream, on_shed: OnShed, limit: FrameLimit) -> None:
        self._codec, self._on_shed = stream.codec_context, on_shed
        self._frames = FrameDecoder(stream, limit)
        self._time_base = stream.time_base
        self._codec.copy_opaque = True
        self._number = 0
        self._pending: set[int] = set()

    def decode(
        self, packet: Packet[Any], camera_ms: float | None
    ) -> Iterator[tuple[VideoFrame, float | None]]:
        """The frames that are ready; `camera_ms` of the packet, UTC."""
        if not packet.size:
            yield from self._ready(packet)
            return
        self._number += 1
        packet.opaque = _PacketInfo(self._number, camera_ms)
        self._pending.add(self._number)
        try:
            yield from self._ready(packet)
        except av.FFmpegError:
            self._drop({self._number})
        self._drop({number for number in self._pending if number <= self._number - 2 * REORDERED})

    def flush(self) -> Iterator[tuple[VideoFrame, float | None]]:
        """The frames that it still holds; no packet may follow."""
        with suppress(av.FFmpegError, FrameTooLarge):
            yield from self._ready(None)
        self.end(UNDECODABLE)

    def end(self, cause: str) -> None:
        """Shed what it still holds."""
        if self._pending:
            self._on_shed(cause, len(self._pending))
            self._pending.clear()

    def _ready(self, packet: Packet[Any] | None) -> Iterator[tuple[VideoFrame, float | None]]:
        for frame in self._frames.decode(packet):
            info = frame.opaque
            assert isinstance(info, _PacketInfo)
            if packet is None and self._time_base:
                frame.time_base = self._time_base
            late = REORDERED if self._codec.has_b_frames else 0
            if frame.is_corrupt:
                self._drop({info.number})
            else:
                self._pending.discard(info.number)
                yield frame, info.camera_ms
            self._drop({number for number in self._pending if number < info.number - late})

    def _drop(self, numbers: set[int]) -> None:
        dropped = numbers & self._pending
        self._pending -= dropped
        if dropped:
            self._on_shed(UNDECODABLE, len(dropped))
