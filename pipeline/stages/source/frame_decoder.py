"""From packets to frames: none too large, and every pixel square."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from av import error
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from models.frame_size import FrameLimit
from pipeline.stages.source.filters import FrameFilter

MOST_STRETCH = 4
"""Pixels so many times wider than high, or higher than wide, are an error in a header. Real ones
reach 2.9: half of 576 lines, or 352 of 704 columns, each shown as 16:9."""
SLIGHT = 0.02
"""A ratio so near to 1 is left: rounding in cameras makes 9409:9408 and the like, and scaling
costs sharpness."""


class FrameTooLarge(Exception):
    """A frame is larger than allowed; the text says how large, as far as is known."""


class FrameDecoder:
    """Decodes the packets of one video stream, that of a file or a live camera.

    What is larger than `limit` is refused before it is decoded, also when the size changes in
    mid-stream. Frames whose pixels are not square are scaled so that they are, enlarged where that
    stays within the limit; the container's ratio goes before the frame's own, and one of more than
    MOST_STRETCH, or that is no ratio, is ignored. Turning is for later: the ratio is that of the
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
            # A decoder that may not allocate a frame says no more than this, and forgets the size.
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
        Fraction(1, MOST_STRETCH) <= ratio <= MOST_STRETCH and abs(ratio - 1) > SLIGHT
    )


def square_size(container_ratio: Fraction | None, limit: FrameLimit) -> str:
    """Arguments of FFmpeg's `scale`, for every frame by its own ratio, or the container's.

    The shorter side of the pixels is enlarged, by less where the frame would grow beyond the limit.
    """
    told = str(float(container_ratio)) if container_ratio else "sar"
    least = 1 / MOST_STRETCH
    usable = f"between({told},{least},{MOST_STRETCH})*gt(abs({told}-1),{SLIGHT})"
    side, pixels = limit.side_px, limit.pixels
    room = f"min(min({side}/iw,{side}*ld(0)/ih),sqrt({pixels}*ld(0)/iw/ih))"
    # Registers: 0 the ratio, 1 what the width grows by. The thousandth is for rounding.
    known = f"0*st(0,if({usable},{told},1))+0*st(1,min(max(1,ld(0)),{room}))"
    width, height = "max(1,floor(iw*ld(1)+.001))", "max(1,floor(ih*ld(1)/ld(0)+.001))"
    return f"eval=frame:w={known}+{width}:h={known}+{height}"
