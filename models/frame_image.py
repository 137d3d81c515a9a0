"""The image of a frame: converted to RGB when, and as far as, somebody needs that."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


class FrameImage(Protocol):
    """An image of `width` by `height` pixels that does not change."""

    width: int
    height: int

    def rgb(self) -> Pixels:
        """All of it, (height, width, 3) uint8 RGB, read-only; the same array each time."""
        ...

    def cut(self, left: int, top: int, right: int, bottom: int) -> Pixels:
        """A part of it, (bottom - top, right - left, 3) uint8 RGB, in pixels within it."""
        ...

    def scale(self, width: int, height: int) -> Pixels:
        """All of it at another size, (height, width, 3) uint8 RGB; where that is smaller, each
        pixel is the mean over its area."""
        ...

    def thumbnail(self, width: int, height: int) -> Pixels:
        """A smaller grey image (height, width) uint8; black and white may be other levels than 0
        and 255."""
        ...


class RgbImage:
    """A `FrameImage` of an array (height, width, 3) uint8 RGB, which becomes read-only."""

    def __init__(self, rgb: Pixels) -> None:
        self.height, self.width = rgb.shape[:2]
        self._rgb = rgb
        rgb.setflags(write=False)

    def rgb(self) -> Pixels:
        """The array."""
        return self._rgb

    def cut(self, left: int, top: int, right: int, bottom: int) -> Pixels:
        """A view of the array."""
        return self._rgb[top:bottom, left:right]

    def scale(self, width: int, height: int) -> Pixels:
        """See FrameImage."""
        how = cv2.INTER_AREA if width < self.width else cv2.INTER_LINEAR
        return cv2.resize(self._rgb, (width, height), interpolation=how).astype(
            np.uint8, copy=False
        )

    def thumbnail(self, width: int, height: int) -> Pixels:
        """See FrameImage."""
        small = cv2.resize(self._rgb, (width, height), interpolation=cv2.INTER_AREA)
        return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
