"""Prepares degraded images for a face detector: less noise, full contrast in each channel.

Under a display it is noise and haze, not blur, that hide faces from a detector. Both are measured
on the image, so a clear one passes unchanged; a noisy one goes to detectors that handle noise
themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from models.detectors.base import (
    FaceDetector,
    Image,
    MosaicDetector,
    NoiseDetector,
    apply_levels,
    level_span,
    scaled_size,
    stretch_table,
)
from models.detectors.mosaic import CELL_PX, Mosaic, surrounding_squares
from models.faces import Faces, Float32
from models.frame_image import FrameImage, RgbImage
from models.quality import estimate_noise_of_levels

WHEN = ("auto", "always", "never")
NOISY = 2.5
"""Standard deviation of noise, of 255, above which an image is smoothed."""
FLAT = 100.0
"""Levels between the 1st and 99th percentile of the luma, of 255, below which an image is flat."""
NOISE_A_PX, LEAST_PX = 5.0, 1.0
"""Sigma of the smoothing Gaussian: one pixel for each so many levels of noise, at least the second
number."""
SAMPLE_PX = 320
MOSAIC_SHARE = 0.6
"""A mosaic has at most this share of the pixels to which a detector scales an image: a larger one
would save little."""


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
    noise = estimate_noise_of_levels(_luma(middle))
    return Condition(noise, level_span(_luma(np.ascontiguousarray(image[::4, ::4]))))


def measure_frame(image: FrameImage, small: Image) -> Condition:
    """The same of an image that converts itself where needed, given a small one of all of it."""
    left, top = max(image.width - SAMPLE_PX, 0) // 2, max(image.height - SAMPLE_PX, 0) // 2
    right, bottom = min(left + SAMPLE_PX, image.width), min(top + SAMPLE_PX, image.height)
    noise = estimate_noise_of_levels(_luma(image.cut(left, top, right, bottom)))
    return Condition(noise, level_span(_luma(small)))


def _scale_frame(image: FrameImage, longer_px: int) -> tuple[Image, float]:
    width, height, scale = scaled_size(image.width, image.height, longer_px)
    return image.scale(width, height), scale


def _luma(image: Image) -> NDArray[np.uint8]:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)


@dataclass(frozen=True)
class Conditioning:
    """What was done to an image before detection, to do the same to parts of the next ones.

    `sigma` of the Gaussian that smoothed it, pixels, 0: none; `levels`: the table (256, 3) that
    stretched them, None: none; `scale`: what it was scaled by in the end; `is_noisy`: it went to a
    detector that handles noise itself.
    """

    sigma: float = 0.0
    levels: NDArray[np.uint8] | None = None
    scale: float = 1.0
    is_noisy: bool = False

    def apply(self, image: Image) -> Image:
        """A part of an image, (h, w, 3) uint8 RGB, conditioned."""
        if self.sigma:
            image = _smooth(image, self.sigma)
        return image if self.levels is None else apply_levels(image, self.levels)


def find_conditioning(image: Image, noise: float) -> tuple[Conditioning, Image]:
    """How an (h, w, 3) uint8 RGB image of that noise is conditioned, and the conditioned image:
    smoothed by its noise, then each channel stretched from its 1st to its 99th percentile over
    0..255."""
    sigma = max(noise / NOISE_A_PX, LEAST_PX)
    smooth = _smooth(image, sigma)
    levels = stretch_table(smooth)
    return Conditioning(sigma, levels), apply_levels(smooth, levels)


def condition_image(image: Image, noise: float) -> Image:
    """The conditioned image of `find_conditioning`."""
    return find_conditioning(image, noise)[1]


def _smooth(image: Image, sigma: float) -> Image:
    return cv2.GaussianBlur(image, (0, 0), sigma).astype(np.uint8, copy=False)


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
        if self._when == "never":
            return self._detector.detect(image)
        found = measure(image)
        if found.noise > NOISY and isinstance(self._detector, NoiseDetector):
            return self._detector.detect_in_noise(image, found.noise)
        if self._when == "always" or found.is_degraded:
            image = condition_image(image, found.noise)
        return self._detector.detect(image)

    def detect_whole(self, image: FrameImage, again: bool) -> tuple[Faces, Conditioning]:
        """The same of an image that converts itself where needed, and how it was conditioned;
        `again`: whether it is tried at another scale where it shows no face."""
        detector = self._detector
        if not isinstance(detector, MosaicDetector):
            return self.detect(image.rgb()), Conditioning()
        small, scale = _scale_frame(image, detector.sizes[0])
        conditioning = Conditioning()
        if self._when != "never":
            found = measure_frame(image, small)
            if found.noise > NOISY and isinstance(detector, NoiseDetector):
                faces = detector.detect_in_noise(image.rgb(), found.noise)
                return faces, Conditioning(is_noisy=True)
            if self._when == "always" or found.is_degraded:
                conditioning, conditioned = find_conditioning(image.rgb(), found.noise)
                image = RgbImage(conditioned)
                small, scale = _scale_frame(image, detector.sizes[0])
        faces = detector.detect_unscaled(small).transform(1 / scale)
        for px in detector.sizes[1:] if again else ():
            if len(faces) == 0:
                small, scale = _scale_frame(image, px)
                faces = detector.detect_unscaled(small).transform(1 / scale)
        return faces, replace(conditioning, scale=scale)

    def detect_around(
        self, image: FrameImage, boxes: Float32, conditioning: Conditioning
    ) -> tuple[Faces, Faces] | None:
        """Faces in the surroundings of boxes (n, 4) xyxy, pixels of the image, best score first,
        and what is seen of faces that reach beyond the surroundings.

        `conditioning` is that of the last whole image. None where that costs as much as the whole
        image, or the detector cannot: some always see one size, and in noise one needs several.
        """
        detector = self._detector
        if conditioning.is_noisy or not isinstance(detector, MosaicDetector):
            return None
        scale = conditioning.scale
        if len(boxes) * CELL_PX**2 > MOSAIC_SHARE * scale**2 * image.width * image.height:
            return None
        small, scale = _scale_frame(image, round(scale * max(image.width, image.height)))
        # Smoothing before an image shrinks is about as smoothing the small one by less.
        small = replace(conditioning, sigma=conditioning.sigma * scale).apply(small)
        mosaic = Mosaic(surrounding_squares(boxes * scale), small.shape[1], small.shape[0])
        faces, cut = mosaic.to_image(detector.detect_unscaled(mosaic.build(small)))
        return faces.transform(1 / scale), cut.transform(1 / scale)
