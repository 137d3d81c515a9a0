"""Where a clip goes on with another scene, or another one begins under a box."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.faces import Float32

Picture = NDArray[np.uint8]
SCENE = 0.03
"""Least score of a cut, a share of full light. Within clips at 25 and at 5 frames a second it was
0.015 at most, at cuts between moments of one scene 0.04 at least."""
PATCH = 0.12
"""Least difference that counts within one box, where a moving face changes most pixels."""
SMALL, TINY = (64, 36), (16, 16)
"""Width and height that frames, and what lies in a box, are compared at."""


class SceneCuts:
    """Compares each frame with the one before.

    The score is that of FFmpeg's `scdet`: the mean absolute difference of two frames, or how far
    it differs from the one before where that is less. So steady motion is no cut.
    """

    def __init__(self) -> None:
        self._before: Picture | None = None
        self._now: Picture | None = None
        self._difference = 0.0
        self.is_cut = False
        """Whether the last frame begins another scene."""

    def update(self, image: Picture) -> None:
        """Take in the next frame, (height, width, 3) uint8 RGB."""
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
        self._before, self._now = self._now, grey
        if self._before is None or self._before.shape != grey.shape:
            self.is_cut = self._before is not None
            self._before = grey
            return
        difference = _difference(self._before, grey, SMALL)
        self.is_cut = min(difference, abs(difference - self._difference)) >= SCENE
        self._difference = difference

    def has_changed(self, box: Float32) -> bool:
        """Whether a box (4,), xyxy pixels, shows something else than in the frame before."""
        if self._before is None or self._now is None:
            return False
        height, width = self._now.shape
        x0, x1 = np.clip((round(float(box[0])), round(float(box[2]))), 0, width)
        y0, y1 = np.clip((round(float(box[1])), round(float(box[3]))), 0, height)
        if x0 >= x1 or y0 >= y1:
            return False
        place = np.s_[y0:y1, x0:x1]
        return _difference(self._before[place], self._now[place], TINY) >= PATCH


def _difference(a: Picture, b: Picture, size: tuple[int, int]) -> float:
    """Mean absolute difference of two grey pictures of one shape, 0..1."""
    small = [cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in (a, b)]
    return float(cv2.absdiff(*small).mean()) / 255
