"""YuNet (Wu, Peng & Yu 2023, Machine Intelligence Research 20) through OpenCV; Apache-2.0."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from models.detectors.base import Image, detect_at_scales
from models.errors import ModelError
from models.faces import Faces, from_ltwh

OVERLAP = 0.3
MOST_FACES = 5000
LEAST_PX = 64
"""In an image of fewer rows or columns OpenCV reads memory that is not its own, and finds
faces in it."""


class YuNet:
    """A `FaceDetector` on an image scaled to `frame_px` on its longer side."""

    name = "yunet"

    def __init__(self, path: Path, frame_px: int = 448, threshold: float = 0.3) -> None:
        self._frame_px = frame_px
        try:
            self._network = cv2.FaceDetectorYN.create(
                str(path), "", (frame_px, frame_px), threshold, OVERLAP, MOST_FACES
            )
            self.detect(np.zeros((1, 1, 3), np.uint8))  # another network opens, but cannot detect
        except cv2.error as error:
            raise ModelError("not a YuNet network", str(path), "give yunet_n_*.onnx") from error

    def detect(self, image: Image) -> Faces:
        """Faces of an (h, w, 3) uint8 RGB image, in its pixels, best score first."""
        return detect_at_scales(image, self._frame_px, 0, self._detect)

    @property
    def sizes(self) -> tuple[int, ...]:
        """See MosaicDetector."""
        return (self._frame_px,)

    def detect_unscaled(self, image: Image) -> Faces:
        """Faces of an (h, w, 3) uint8 RGB image as it is, best score first."""
        return self._detect(image)

    def _detect(self, small: Image) -> Faces:
        height, width = small.shape[:2]
        more = max(LEAST_PX - height, 0), max(LEAST_PX - width, 0)
        small = cv2.copyMakeBorder(small, 0, more[0], 0, more[1], cv2.BORDER_REPLICATE)
        self._network.setInputSize((small.shape[1], small.shape[0]))
        _, rows = self._network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        if rows is None:
            return Faces.none()
        table = np.asarray(rows, np.float32)
        table = table[np.isfinite(table).all(axis=1)]  # an image of few rows gave infinite boxes
        table = table[np.argsort(-table[:, 14], kind="stable")]
        scores, points = np.clip(table[:, 14], 0, 1), table[:, 4:14].reshape(-1, 5, 2)
        return Faces(from_ltwh(table[:, :4]), scores, points)
