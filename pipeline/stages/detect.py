"""The detector as the settings want it."""

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
    """Faces of a picture, without those that are too small to say anything about."""

    def __init__(self, detector: FaceDetector, min_face_px: int) -> None:
        self._detector = detector
        self._least_px = min_face_px
        self.name = detector.name

    def for_camera(self, under_display: bool | None) -> Detect:
        """The stage for a camera by its own word: one that sits behind a display has every picture
        conditioned, of others the picture decides (see `models.detectors.conditioner`)."""
        if under_display and isinstance(self._detector, ConditioningDetector):
            return Detect(self._detector.for_under_display(), self._least_px)
        return self

    def __call__(self, image: Image) -> Faces:
        """Faces of an (h, w, 3) uint8 RGB picture, in its pixels, best score first."""
        faces = self._detector.detect(image)
        sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
        return faces[np.asarray(sides.min(axis=1, initial=np.inf) >= self._least_px)]


def open_detect(settings: DetectorSettings, folders: Sequence[Path] = ()) -> Detect:
    """The stage by its settings; `folders` are searched for networks that are not bundled."""
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
