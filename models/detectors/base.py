"""The protocol of face detectors, and the image operations that they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.faces import Faces

Image = NDArray[np.uint8]
Pixels = TypeVar("Pixels", NDArray[np.uint8], NDArray[np.float32])


class FaceDetector(Protocol):
    """Finds faces. `name` stands in reports."""

    name: str

    def detect(self, image: Image) -> Faces:
        """Faces of an (h, w, 3) uint8 RGB image, in its pixels, best score first."""
        ...


@runtime_checkable
class NoiseDetector(FaceDetector, Protocol):
    """A detector that handles noisy images itself."""

    def detect_in_noise(self, image: Image, noise: float) -> Faces:
        """Faces of an (h, w, 3) uint8 RGB image, in its pixels, best score first; `noise` is the
        standard deviation of its luma's noise, of 255."""
        ...


@runtime_checkable
class MosaicDetector(FaceDetector, Protocol):
    """A detector that takes small images as they are, at less cost the smaller they are."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """The longer sides to which `detect` scales an image: one after the other, until it finds a
        face."""
        ...

    def detect_unscaled(self, image: Image) -> Faces:
        """Faces of an (h, w, 3) uint8 RGB image, in its pixels, best score first."""
        ...


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Options of a network that shares the machine: so many threads (0: all cores), which sleep
    while they wait."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def detect_at_scales(
    image: Image, longer_px: int, again_px: int, detect: Callable[[Image], Faces]
) -> Faces:
    """Faces that `detect` finds in the image scaled to `longer_px`, in pixels of the image.

    Where there is none, it tries once more at `again_px`, unless that is 0.
    """
    faces = Faces.none()
    for px in (longer_px, again_px):
        if px and len(faces) == 0:
            small, scale = scale_image(image, px)
            faces = detect(small).transform(1 / scale)
    return faces


def scale_image(image: Pixels, longer_px: int) -> tuple[Pixels, float]:
    """Resize an image (h, w, c) to `longer_px` on its longer side; returns it and the scale."""
    *size, scale = scaled_size(image.shape[1], image.shape[0], longer_px)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, size, interpolation=how).astype(image.dtype), scale


def scaled_size(width: int, height: int, longer_px: int) -> tuple[int, int, float]:
    """Width and height of an image scaled to `longer_px` on its longer side, and the scale.

    >>> scaled_size(1280, 720, 448)
    (448, 252, 0.35)
    """
    scale = longer_px / max(height, width)
    return max(round(width * scale), 1), max(round(height * scale), 1), scale


def pad_to_multiple(image: Image, multiple: int) -> Image:
    """Pad an image with black below and at the right until both sides are multiples."""
    height, width = image.shape[:2]
    out = np.zeros(
        (-(-height // multiple) * multiple, -(-width // multiple) * multiple, 3), np.uint8
    )
    out[:height, :width] = image
    return out


def level_span(luma: NDArray[np.uint8], cut: float = 1.0) -> float:
    """Levels, of 255, between the `cut` lowest and highest per cent of a luma (h, w)."""
    low, high = level_percentiles(luma, cut)
    return high - low


def level_percentiles(levels: NDArray[np.uint8], cut: float) -> tuple[float, float]:
    """The `cut`-th percentile and the one as far from the top, of any uint8 array: what
    `numpy.percentile` gives, from a count of the levels instead of a sort.

    >>> level_percentiles(np.array([3, 9, 7, 1, 5], np.uint8), 25)
    (3.0, 7.0)
    """
    below = np.bincount(levels.ravel(), minlength=256).cumsum()
    places = np.array([cut, 100 - cut]) / 100 * (levels.size - 1)
    lower, upper = (
        np.searchsorted(below, np.minimum(rank, levels.size - 1), side="right")
        for rank in (np.floor(places), np.floor(places) + 1)
    )
    low, high = (lower + (places - np.floor(places)) * (upper - lower)).tolist()
    return low, high


def stretch_levels(image: Image, cut: float = 1.0) -> Image:
    """Each channel of an (h, w, 3) uint8 RGB image stretched over 0..255, the `cut` lowest and
    highest per cent cut off."""
    return apply_levels(image, stretch_table(image, cut))


def apply_levels(image: Image, table: NDArray[np.uint8]) -> Image:
    """An (h, w, 3) uint8 image, each channel by its column of a table (256, 3)."""
    return cv2.LUT(image, table[None]).astype(np.uint8, copy=False)


def stretch_table(image: Image, cut: float = 1.0) -> NDArray[np.uint8]:
    """The table (256, 3) that stretches the levels of an image (h, w, 3)."""
    return np.stack([_stretch_channel(image[..., channel], cut) for channel in range(3)], axis=1)


def _stretch_channel(channel: NDArray[np.uint8], cut: float) -> NDArray[np.uint8]:
    """Lookup table (256,) of one channel; a large image is sampled at every fourth pixel."""
    sparse = channel[::4, ::4] if channel.size > 2**18 else channel
    low, high = level_percentiles(sparse, cut)
    levels = (np.arange(256) - low) * (255 / max(high - low, 1))
    return np.clip(levels, 0, 255).round().astype(np.uint8)
