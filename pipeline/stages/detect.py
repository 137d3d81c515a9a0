"""Faces of a frame: the detector that the settings name, with conditioning and a size limit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.detectors.base import FaceDetector, Image
from models.detectors.conditioner import Conditioning, ConditioningDetector
from models.detectors.opening import open_detector
from models.faces import Faces, Float32
from models.frame_image import FrameImage
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
        return self._large_enough(self._detector.detect(image))

    def search_whole(self, image: FrameImage, again: bool) -> tuple[Faces, Conditioning | None]:
        """Faces of a frame's image, and how it was conditioned; `again`: whether it is tried at
        another scale where it shows no face. A detector that has no such choice tries as always."""
        if not isinstance(self._detector, ConditioningDetector):
            return self(image.rgb()), None
        faces, conditioning = self._detector.detect_whole(image, again)
        return self._large_enough(faces), conditioning

    def search_around(
        self, image: FrameImage, boxes: Float32, conditioning: Conditioning | None
    ) -> tuple[Faces, Faces] | None:
        """Faces in the surroundings of boxes (n, 4) xyxy, pixels, of an image conditioned as an
        earlier one, and what is seen of faces that reach beyond; None where the detector cannot, or
        the whole image costs no more."""
        if conditioning is None or not isinstance(self._detector, ConditioningDetector):
            return None
        found = self._detector.detect_around(image, boxes, conditioning)
        return found and (self._large_enough(found[0]), self._large_enough(found[1]))

    def _large_enough(self, faces: Faces) -> Faces:
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
