"""Faces of a frame: the detector that the settings name, with conditioning and a size limit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.detectors.base import FaceDetector, Image
from models.detectors.conditioner import ConditioningDetector
from models.detectors.opening import open_detector
from models.faces import Faces
from pipeline.settings import DetectorSettings


class Detect:
    """Detects faces, without those too small to classify."""

    def __init__(self, detector: FaceDetector, min_face_px: int) -> None:
        self._detector = detector
        self._min_face_px = min_face_px
        self.name = detector.name

    def for_camera(self, under_display: bool | None) -> Detect:
        """The stage for one camera. Under a display every frame is conditioned before detection;
        otherwise (False or None) the noise of the frame decides (see
        `models.detectors.conditioner`)."""
        if under_display and isinstance(self._detector, ConditioningDetector):
            return Detect(self._detector.for_under_display(), self._min_face_px)
        return self

    def __call__(self, image: Image) -> Faces:
        """Faces of an (h, w, 3) uint8 RGB image, in its pixels, best score first."""
        faces = self._detector.detect(image)
        sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
        return faces[np.asarray(sides.min(axis=1, initial=np.inf) >= self._min_face_px)]


def open_detect(settings: DetectorSettings, folders: Sequence[Path] = ()) -> Detect:
    """Open the stage; `folders` are searched for network files that are not bundled."""
    detector = open_detector(
        settings.name,
        settings.model,
        settings.frame_px,
        settings.threshold,
        settings.second_scale,
        settings.threads,
        folders,
    )
    return Detect(ConditioningDetector(detector, settings.conditioning), settings.min_face_px)
