"""What a face detector is, and what all of them share: looking at a scaled picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.faces import Faces

Picture = NDArray[np.uint8]
Pixels = TypeVar("Pixels", NDArray[np.uint8], NDArray[np.float32])


class FaceDetector(Protocol):
    """Finds faces. `name` stands in reports."""

    name: str

    def detect(self, image: Picture) -> Faces:
        """Faces of an (h, w, 3) uint8 RGB picture, in its pixels, best score first."""
        ...


@runtime_checkable
class NoiseDetector(FaceDetector, Protocol):
    """A detector that knows how to look at a noisy picture itself."""

    def detect_in_noise(self, image: Picture, noise: float) -> Faces:
        """Faces of an (h, w, 3) uint8 RGB picture, in its pixels, best score first; `noise` is the
        standard deviation of its luma's noise, of 255."""
        ...


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """For a network beside others: so many threads (0: all cores), which sleep while they wait."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def look(
    image: Picture, longer_px: int, again_px: int, detect: Callable[[Picture], Faces]
) -> Faces:
    """Faces that `detect` finds in the picture scaled to `longer_px`, in pixels of the picture.

    Where there is none, it looks once more at `again_px`; 0 spares that second look.
    """
    faces = Faces.none()
    for px in (longer_px, again_px):
        if px and len(faces) == 0:
            small, scale = scaled(image, px)
            faces = detect(small).moved(1 / scale)
    return faces


def scaled(image: Pixels, longer_px: int) -> tuple[Pixels, float]:
    """A picture (h, w, c) with `longer_px` on its longer side, and the scale that brought it
    there."""
    height, width = image.shape[:2]
    scale = longer_px / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, size, interpolation=how).astype(image.dtype), scale


def padded(image: Picture, multiple: int) -> Picture:
    """The picture with black added below and to the right, until its sides are multiples."""
    height, width = image.shape[:2]
    out = np.zeros(
        (-(-height // multiple) * multiple, -(-width // multiple) * multiple, 3), np.uint8
    )
    out[:height, :width] = image
    return out
