"""Where eyes, nose and mouth are in training faces: told by a detector, learnt by a small network.

A face in which the detector finds nothing teaches nothing here.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.lrdif.landmarks import POINTS, LandmarkNet
from trainer.data.faceset import FaceSet
from trainer.objectives.base import Batch

FACE_PX, MARGIN_PX, BLUR_PX = 192, 64, 12
MIRRORED = [1, 0, 2, 4, 3]
"""Which point stands where in a mirror: eyes and corners of the mouth change sides."""


class PointLabels:
    """The five points of each face, (n, 5, 2) in 0..1 of the tile, and whether there are any."""

    def __init__(self, points: NDArray[np.float32], found: NDArray[np.bool_]) -> None:
        self.points, self.found = torch.from_numpy(points), torch.from_numpy(found)

    @classmethod
    def of(cls, faces: FaceSet, run_dir: Path) -> PointLabels:
        """Found by the default detector, once: they are kept in `run_dir`."""
        digest = hashlib.sha256(np.ascontiguousarray(faces.tiles).tobytes()).hexdigest()[:12]
        path = run_dir / f"points-{digest}.npz"
        if not path.is_file():
            points, found = find_points(faces)
            np.savez(path, points=points, found=found)
        with np.load(path, allow_pickle=False) as file:
            return cls(file["points"], file["found"])

    def loss(self, network: LandmarkNet, batch: Batch) -> Tensor:
        """Mean absolute distance of the found points of a batch, in sides of the face, times 10."""
        rows = batch.rows.cpu()
        wanted = moved(self.points[rows].to(batch.x.device), batch.warps)
        distance = (network.points(batch.x) - wanted).abs().mean(dim=(1, 2))
        found = self.found[rows].float().to(batch.x.device)
        return 10 * (distance * found).sum() / found.sum().clamp(min=1)


def moved(points: Tensor, warps: Tensor) -> Tensor:
    """Points (n, 5, 2) in 0..1 of pictures, where `trainer.augment.warped` puts them."""
    old = 2 * points - 1 - warps[:, None, :, 2]
    new = (old @ torch.linalg.inv(warps[:, :, :2]).transpose(1, 2) + 1) / 2
    mirrored = torch.linalg.det(warps[:, :, :2]) < 0
    return torch.where(mirrored[:, None, None], new[:, MIRRORED], new)


def find_points(faces: FaceSet) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Each tile enlarged, its border continued, and shown to the detector: points and found."""
    from models.detectors.opening import open_detector  # a bare GPU box has no onnxruntime

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
