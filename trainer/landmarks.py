"""Where eyes, nose and mouth are in training faces, by the default detector: once, kept in a file.

A face in which the detector finds nothing teaches the landmark network nothing.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.atomic_files import writing
from models.detectors.opening import open_detector
from models.lrdif.landmarks import POINTS
from trainer.data.faceset import FaceSet
from trainer.objectives.points import points_file

FACE_PX, MARGIN_PX, BLUR_PX = 192, 64, 12


def annotate(faces: FaceSet, run_dir: Path) -> None:
    """Leave the faces' points in `run_dir`, for `trainer.objectives.points`, if they are not."""
    path = points_file(faces, run_dir)
    if not path.is_file():
        points, found = find_points(faces)
        with writing(path) as unfinished, unfinished.open("wb") as file:
            np.savez(file, points=points, found=found)


def find_points(faces: FaceSet) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Each tile enlarged, its border continued, and shown to the detector: points and found."""
    detector = open_detector("centerface", "", FACE_PX + 2 * MARGIN_PX, 0.3, False, 1, ())
    points = np.zeros((len(faces), POINTS, 2), np.float32)
    found = np.zeros(len(faces), bool)
    for row, tile in enumerate(faces.tiles):
        seen = detector.detect(framed(tile))
        if len(seen):
            points[row] = (seen.landmarks[0] - MARGIN_PX) / FACE_PX
            found[row] = True
    return points, found


def framed(tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A tile (h, w[, 3]) uint8 as a face 192 pixels large on a picture of 320 x 320 RGB."""
    face = cv2.resize(tile, (FACE_PX, FACE_PX), interpolation=cv2.INTER_CUBIC)
    if face.ndim == 2:
        face = cv2.cvtColor(face, cv2.COLOR_GRAY2RGB)
    m = MARGIN_PX
    picture = cv2.copyMakeBorder(face, m, m, m, m, cv2.BORDER_REPLICATE)
    picture = cv2.GaussianBlur(picture, (0, 0), BLUR_PX)
    picture[m:-m, m:-m] = face
    return picture.astype(np.uint8)
