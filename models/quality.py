"""The quality of an observation: blur, noise, brightness and size, from the face's crop and box.

Blur is estimated from how much finer detail stands beside coarse shape: the energy of the luma
between Gaussians of 1 and 2 pixels over that between 4 and 8. A ratio does not change with
brightness or contrast. Noise would pass for detail, so its share is subtracted first. All of this
happens at the resolution of the camera: an enlarged crop is sampled back, so a small face counts as
blurred only when it is, and noise that enlarging made coarse is still measured as noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.crops import CROP_PX, Crops, check_crops
from models.faces import Float32

LEAST_PX = 32
FINE, COARSE = (1.0, 2.0), (4.0, 8.0)
HALF_BLURRED = 0.05
"""The ratio of energies that is called half blurred. Measured medians: sharp faces 0.23 to 0.5,
after a Gaussian of 1, 2 and 4 pixels 0.15, 0.07 and 0.024."""
LAPLACIAN_PAIR = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
"""Blind to planes and edges along the axes; white noise of 1 becomes 6 (Immerkær 1996)."""
NORMAL_MEDIAN = 0.6745
"""Median of the absolute value of standard normal noise."""


@dataclass(frozen=True)
class QualityMeasures:
    """Of n observations, each (n,) float32: `blur` 0 sharp .. 1 blurred; `noise`, the standard
    deviation of the luma's noise, and `luma`, its mean, in 0 black .. 1 white; `size_px`, the
    shorter side of the box in pixels."""

    blur: Float32
    noise: Float32
    luma: Float32
    size_px: Float32

    def __len__(self) -> int:
        return len(self.blur)

    def weights(self, scores: Float32) -> Float32:
        """The weight of each observation among those of its track: (n,) float32 in 0..1.

        Detector score x (1 - blur) x size_px / 112, where a larger face counts as one of 112
        pixels. Five observations of a FER+ face, each blurred and shrunk at random, classified
        72.4 % of 1,600 faces correctly in a plain mean and 76.0 % in one so weighted.
        """
        size = np.minimum(self.size_px / CROP_PX, 1)
        weights: Float32 = (scores * (1 - self.blur) * size).astype(np.float32)
        return weights


def measure(crops: Crops, boxes: Float32) -> QualityMeasures:
    """The quality of n observations: crops (n, 112, 112, 3) uint8 RGB of `crop_faces`, and the
    boxes (n, 4) xyxy pixels that they were cut by. Raises ModelError for crops of another shape."""
    check_crops(crops)
    sides = boxes[:, 2:] - boxes[:, :2]
    lumas = [cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32) for crop in crops]
    seen = [
        resample_to_box(luma, side) for luma, side in zip(lumas, sides.max(axis=1), strict=True)
    ]
    noise = [estimate_noise(luma) for luma in seen]
    blur = [estimate_blur(luma, sigma) for luma, sigma in zip(seen, noise, strict=True)]
    light = [float(luma.mean()) for luma in lumas]
    return QualityMeasures(
        np.array(blur, np.float32),
        np.array(noise, np.float32) / np.float32(255),
        np.array(light, np.float32) / np.float32(255),
        sides.min(axis=1).astype(np.float32),
    )


def resample_to_box(luma: Float32, side_px: float) -> Float32:
    """A crop's luma (112, 112) at the resolution of its box if that is lower: (m, m) float32."""
    px = int(np.clip(round(side_px), LEAST_PX, CROP_PX))
    return cv2.resize(luma, (px, px), interpolation=cv2.INTER_CUBIC)


def estimate_noise(luma: Float32) -> float:
    """Standard deviation of white noise in an image (h, w), in its units.

    The median does not mind the few places where a face has edges.
    """
    residual = cv2.filter2D(luma, -1, LAPLACIAN_PAIR)
    return float(np.median(np.abs(residual)) / NORMAL_MEDIAN / 6)


def estimate_noise_of_levels(luma: NDArray[np.uint8]) -> float:
    """`estimate_noise` of whole levels (h, w) uint8, several times as fast: their residuals are
    whole numbers, which can be counted instead of sorted."""
    residual = np.abs(cv2.filter2D(luma, cv2.CV_16S, LAPLACIAN_PAIR))
    below = np.bincount(residual.ravel()).cumsum()
    # The two in the middle, of an odd number the same one twice.
    middle = np.searchsorted(below, [(luma.size - 1) // 2, luma.size // 2], side="right")
    return float(middle.mean() / NORMAL_MEDIAN / 6)


def estimate_blur(luma: Float32, noise: float) -> float:
    """0 sharp .. 1 blurred, of an image (h, w) in 0..255 with white noise of that deviation.

    What does not stand out from the noise, or from the rounding to integers, counts as blurred.
    """
    fine = _energy(luma, *FINE) - noise**2 * _noise_gain(*FINE)
    coarse = _energy(luma, *COARSE) + 0.1 * (noise**2 + 1)
    return HALF_BLURRED / (HALF_BLURRED + max(fine, 0.0) / coarse)


def _energy(luma: Float32, inner: float, outer: float) -> float:
    band = cv2.GaussianBlur(luma, (0, 0), inner) - cv2.GaussianBlur(luma, (0, 0), outer)
    return float(np.mean(np.square(band)))


def _noise_gain(inner: float, outer: float) -> float:
    """Energy that white noise of 1 has between two Gaussians."""
    return (inner**-2 + outer**-2 - 4 / (inner**2 + outer**2)) / (4 * np.pi)
