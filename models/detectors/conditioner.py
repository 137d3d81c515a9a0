"""Makes a bad picture fit for a face detector: less noise, full contrast in each colour.

Behind a display it is noise and haze, not blur, that hide faces from a detector. What is wrong with
a picture is measured on the picture itself, so a good one passes untouched; a noisy one is left to
detectors that know what to do with noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from models.detectors.base import FaceDetector, NoiseDetector, Picture
from models.detectors.levels import span, stretched
from models.faces import Faces
from models.quality import noise_of

WHEN = ("auto", "always", "never")
NOISY = 2.5
"""Standard deviation of noise, of 255, above which a picture is smoothed."""
FLAT = 100.0
"""Levels between the 1st and 99th percentile of the luma, of 255, below which a picture is dull."""
NOISE_A_PX, LEAST_PX = 5.0, 1.0
"""A Gaussian of one pixel for so many levels of noise, but no narrower than the second."""
SAMPLE_PX = 320


@dataclass(frozen=True)
class Condition:
    """Of a picture's luma, of 255: standard deviation of its noise, and the levels it spans."""

    noise: float
    span: float

    @property
    def is_bad(self) -> bool:
        """Whether a detector would see more in it after conditioning."""
        return self.noise > NOISY or self.span < FLAT


def measure(image: Picture) -> Condition:
    """The condition of an (h, w, 3) uint8 RGB picture: noise from its middle, levels from every
    fourth pixel."""
    height, width = image.shape[:2]
    top, left = max(height - SAMPLE_PX, 0) // 2, max(width - SAMPLE_PX, 0) // 2
    middle = image[top : top + SAMPLE_PX, left : left + SAMPLE_PX]
    sparse = cv2.cvtColor(np.ascontiguousarray(image[::4, ::4]), cv2.COLOR_RGB2GRAY)
    noise = noise_of(cv2.cvtColor(middle, cv2.COLOR_RGB2GRAY).astype(np.float32))
    return Condition(noise, span(sparse.astype(np.uint8)))


def conditioned(image: Picture, noise: float) -> Picture:
    """An (h, w, 3) uint8 RGB picture smoothed as its noise wants it, then each channel stretched
    from its 1st to its 99th percentile over 0..255."""
    smooth = cv2.GaussianBlur(image, (0, 0), max(noise / NOISE_A_PX, LEAST_PX))
    return stretched(smooth.astype(np.uint8))


class Conditioned:
    """A `FaceDetector` that conditions pictures for another: `auto` where they need it."""

    def __init__(self, detector: FaceDetector, when: str = "auto") -> None:
        if when not in WHEN:
            raise ValueError(f"condition {when!r}: give one of {', '.join(WHEN)}")
        self.name = detector.name
        self._detector, self._when = detector, when

    def behind_display(self) -> Conditioned:
        """The same for a camera that is known to sit behind a display: what would be measured first
        is conditioned whatever it measures."""
        return Conditioned(self._detector, "always" if self._when == "auto" else self._when)

    def detect(self, image: Picture) -> Faces:
        """Faces of an (h, w, 3) uint8 RGB picture, in its pixels, best score first."""
        if self._when != "never":
            found = measure(image)
            if found.noise > NOISY and isinstance(self._detector, NoiseDetector):
                return self._detector.detect_in_noise(image, found.noise)
            if self._when == "always" or found.is_bad:
                image = conditioned(image, found.noise)
        return self._detector.detect(image)
