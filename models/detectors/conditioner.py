"""Prepares degraded images for a face detector: less noise, full contrast in each channel.

Under a display it is noise and haze, not blur, that hide faces from a detector. Both are measured
on the image, so a clear one passes unchanged; a noisy one goes to detectors that handle noise
themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from models.detectors.base import FaceDetector, Image, NoiseDetector, level_span, stretch_levels
from models.faces import Faces
from models.quality import estimate_noise

WHEN = ("auto", "always", "never")
NOISY = 2.5
"""Standard deviation of noise, of 255, above which an image is smoothed."""
FLAT = 100.0
"""Levels between the 1st and 99th percentile of the luma, of 255, below which an image is flat."""
NOISE_A_PX, LEAST_PX = 5.0, 1.0
"""Sigma of the smoothing Gaussian: one pixel for each so many levels of noise, at least the second
number."""
SAMPLE_PX = 320


@dataclass(frozen=True)
class Condition:
    """Of an image's luma, of 255: standard deviation of its noise, and the levels that it spans."""

    noise: float
    span: float

    @property
    def is_degraded(self) -> bool:
        """Whether a detector finds more in it after conditioning."""
        return self.noise > NOISY or self.span < FLAT


def measure(image: Image) -> Condition:
    """The condition of an (h, w, 3) uint8 RGB image: noise from its middle, levels from every
    fourth pixel."""
    height, width = image.shape[:2]
    top, left = max(height - SAMPLE_PX, 0) // 2, max(width - SAMPLE_PX, 0) // 2
    middle = image[top : top + SAMPLE_PX, left : left + SAMPLE_PX]
    sparse = cv2.cvtColor(np.ascontiguousarray(image[::4, ::4]), cv2.COLOR_RGB2GRAY)
    noise = estimate_noise(cv2.cvtColor(middle, cv2.COLOR_RGB2GRAY).astype(np.float32))
    return Condition(noise, level_span(sparse.astype(np.uint8)))


def condition_image(image: Image, noise: float) -> Image:
    """Smooth an (h, w, 3) uint8 RGB image by its noise, then stretch each channel from its 1st to
    its 99th percentile over 0..255."""
    smooth = cv2.GaussianBlur(image, (0, 0), max(noise / NOISE_A_PX, LEAST_PX))
    return stretch_levels(smooth.astype(np.uint8))


class ConditioningDetector:
    """A `FaceDetector` that conditions images for another: `auto` only degraded ones."""

    def __init__(self, detector: FaceDetector, when: str = "auto") -> None:
        if when not in WHEN:
            raise ValueError(f"condition {when!r}: give one of {', '.join(WHEN)}")
        self.name = detector.name
        self._detector, self._when = detector, when

    def for_under_display(self) -> ConditioningDetector:
        """The same for a camera that is known to be under a display: `auto` becomes `always`."""
        return ConditioningDetector(
            self._detector, "always" if self._when == "auto" else self._when
        )

    def detect(self, image: Image) -> Faces:
        """Faces of an (h, w, 3) uint8 RGB image, in its pixels, best score first."""
        if self._when != "never":
            found = measure(image)
            if found.noise > NOISY and isinstance(self._detector, NoiseDetector):
                return self._detector.detect_in_noise(image, found.noise)
            if self._when == "always" or found.is_degraded:
                image = condition_image(image, found.noise)
        return self._detector.detect(image)
