"""Landmarks of training faces by the default detector, computed once and saved in a file.

A face in which the detector finds nothing adds nothing to the landmark loss.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.alignment import LEAST_SCORE
from models.atomic_files import writing
from models.detectors.opening import open_detector
from models.lrdif.landmarks import POINTS
from trainer.data.faceset import FaceSet
from trainer.objectives.points import points_path

FACE_PX, MARGIN_PX, BLUR_PX = 192, 64, 12


def annotate(faces: FaceSet, run_dir: Path) -> None:
    """Write the faces' points into `run_dir` for `trainer.objectives.points`, unless they exist."""
    path = points_path(faces, run_dir)
    if not path.is_file():
        points, found = find_points(faces)
        with writing(path) as unfinished, unfinished.open("wb") as file:
            np.savez(file, points=points, found=found)


def find_points(faces: FaceSet) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The detector's points (n, 5, 2), in 0..1 of the tile, and whether there are any (n,)."""
    detector = open_detector("centerface", "", FACE_PX + 2 * MARGIN_PX, LEAST_SCORE, False, 1, ())
    points = np.zeros((len(faces), POINTS, 2), np.float32)
    found = np.zeros(len(faces), bool)
    for row, tile in enumerate(faces.tiles):
        faces_found = detector.detect(pad_tile(tile))
        if len(faces_found):
            points[row] = (faces_found.landmarks[0] - MARGIN_PX) / FACE_PX
            found[row] = True
    return points, found


def pad_tile(tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A tile (h, w[, 3]) uint8 as a face of 192 pixels in a frame of 320 x 320 RGB."""
    face = cv2.resize(tile, (FACE_PX, FACE_PX), interpolation=cv2.INTER_CUBIC)
    if face.ndim == 2:
        face = cv2.cvtColor(face, cv2.COLOR_GRAY2RGB)
    # A detector expects a face within a frame: of a bare tile it finds far fewer. The border is
    # replicated and blurred, so that it holds no second face.
    m = MARGIN_PX
    frame = cv2.copyMakeBorder(face, m, m, m, m, cv2.BORDER_REPLICATE)
    frame = cv2.GaussianBlur(frame, (0, 0), BLUR_PX)
    frame[m:-m, m:-m] = face
    return frame.astype(np.uint8)
