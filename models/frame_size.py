"""The largest frame that is decoded. A few bytes can hold very many pixels, so the size is read
from the header before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FrameLimit:
    """The largest frame: pixels of a side, and megapixels in all.

    >>> FrameLimit().allows(3840, 2160), FrameLimit().allows(16_000, 16_000)
    (True, False)
    """

    side_px: int = 8192
    megapixels: float = 50.0

    @property
    def pixels(self) -> int:
        """Width times height at the most."""
        return int(self.megapixels * 1e6)

    def allows(self, width: int, height: int) -> bool:
        """Whether a frame of so many pixels may be decoded."""
        return max(width, height) <= self.side_px and width * height <= self.pixels

    def refusal(self, width: int = 0, height: int = 0) -> str:
        """The reason why a larger frame is refused; 0 where its size is unknown.

        >>> FrameLimit().refusal(16_000, 16_000)
        'a frame of 16000 x 16000, larger than 8192 a side or 50 megapixels'
        """
        size = f"a frame of {width} x {height}," if width else "a frame"
        return f"{size} larger than {self.side_px} a side or {self.megapixels:g} megapixels"


DEFAULT_LIMIT = FrameLimit()
