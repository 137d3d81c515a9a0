"""The largest face of a labelled image, by the detector that the product runs."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.detectors.opening import open_detector
from models.faces import Faces

SIDE_PX, MARGIN, BLUR_PX = 256, 1 / 3, 12
"""An image is shown to the detector with its longer side at SIDE_PX, within a margin: of a bare
crop it finds far fewer faces."""
FRAME_PX = round(SIDE_PX * (1 + 2 * MARGIN))
LEAST_SCORE = 0.3


class FaceFinder:
    """Finds faces in photographs and in crops."""

    def __init__(self, threads: int = 0) -> None:
        self._detector = open_detector("centerface", "", FRAME_PX, LEAST_SCORE, False, threads)

    def find(self, image: NDArray[np.uint8]) -> Faces:
        """The faces of an image (h, w) grey or (h, w, 3) RGB uint8, the largest first, their boxes
        and points in its pixels."""
        rgb = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
        height, width = rgb.shape[:2]
        scale = SIDE_PX / max(height, width)
        small = cv2.resize(
            rgb,
            (max(1, round(width * scale)), max(1, round(height * scale))),
            interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC,
        )
        m = round(SIDE_PX * MARGIN)
        frame = cv2.copyMakeBorder(small, m, m, m, m, cv2.BORDER_REPLICATE)
        # Blurred: a replicated border would otherwise hold a second face.
        frame = cv2.GaussianBlur(frame, (0, 0), BLUR_PX)
        frame[m : m + small.shape[0], m : m + small.shape[1]] = small
        found = self._detector.detect(np.asarray(frame, np.uint8))
        boxes = ((found.boxes - m) / scale).astype(np.float32)
        points = ((found.landmarks - m) / scale).astype(np.float32)
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        return Faces(boxes, found.scores, points)[np.argsort(-areas)]
