"""Labelled tiles aligned by the five points that a detector finds on them.

Training finds the points once, on clean tiles, and keeps them in its run directory. Evaluation
finds them on the tiles as a network sees them, under their displays; serving, in the frame.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.alignment import LEAST_SCORE, align_tiles
from models.crops import ALIGNED
from models.detectors.base import FaceDetector, NoiseDetector
from models.detectors.opening import open_detector
from models.faces import Float32
from models.quality import estimate_noise
from trainer.data.faceset import FaceSet
from trainer.objectives.landmarks import FACE_PX, MARGIN_PX, pad_tile
from trainer.objectives.points import PointLabels

NOISY = 5.0
"""Standard deviation of a tile's noise, of 255, above which it is searched as a noisy image: 95 %
of the clean tiles of FER+ have less, and as many at udc_p/3 more."""


def align_annotated(faces: FaceSet, run_dir: Path) -> FaceSet:
    """The same faces, aligned by the points that `trainer.objectives.landmarks` wrote; raises
    DataError where it wrote none."""
    known = PointLabels.of(faces, run_dir)
    # Where that detector found a face, its score was above its threshold, LEAST_SCORE.
    scores = np.where(known.found.numpy(), np.float32(1), np.float32(0))
    tiles = align_tiles(faces.tiles, known.points.numpy(), scores)
    return replace(faces, tiles=tiles, crop=ALIGNED)


def align_faces(faces: FaceSet) -> FaceSet:
    """The same faces, aligned by the points that a detector finds on their tiles as they are."""
    points, scores = find_points(faces.tiles)
    return replace(faces, tiles=align_tiles(faces.tiles, points, scores), crop=ALIGNED)


def find_points(tiles: NDArray[np.uint8]) -> tuple[Float32, Float32]:
    """The default detector's points (n, 5, 2), in 0..1 of the tile, and its scores (n,), 0 where
    it finds no face. A noisy tile is searched as serving searches a noisy frame.

    In a plain grey frame far more faces are found at udc_p/5, but their points are wrong
    by more than alignment corrects: those tiles are better left as they are.
    """
    detector = _open_detector()
    points = np.zeros((len(tiles), 5, 2), np.float32)
    scores = np.zeros(len(tiles), np.float32)
    for row, tile in enumerate(tiles):
        noise = measure_noise(tile)
        if noise > NOISY and isinstance(detector, NoiseDetector):
            # The enlarged face is as noisy as one of its size that shrinks to this tile.
            found = detector.detect_in_noise(pad_tile(tile), noise * FACE_PX / len(tile))
        else:
            found = detector.detect(pad_tile(tile))
        if len(found):
            points[row] = (found.landmarks[0] - MARGIN_PX) / FACE_PX
            scores[row] = found.scores[0]
    return points, scores


@cache
def _open_detector() -> FaceDetector:
    return open_detector("centerface", "", FACE_PX + 2 * MARGIN_PX, LEAST_SCORE, False, 1, ())


def measure_noise(tile: NDArray[np.uint8]) -> float:
    """Standard deviation of the noise of a tile (h, w[, 3]) uint8, of 255."""
    grey = tile if tile.ndim == 2 else cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY)
    return estimate_noise(grey.astype(np.float32))
