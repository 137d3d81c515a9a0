"""What the landmark network learns from: five points of each face that has any."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.lrdif.landmarks import LandmarkNet
from trainer.data.faceset import FaceSet
from trainer.errors import DataError
from trainer.objectives.base import Batch
from trainer.recipes import Recipe

POINTS = "points"
"""The stage that learns landmarks, before faces are looked at for their expressions."""
MIRRORED = [1, 0, 2, 4, 3]
"""Which point stands where in a mirror: eyes and corners of the mouth change sides."""


def annotator(recipe: Recipe) -> str:
    """Which module finds the landmarks that a stage of the recipe learns from, "" for none."""
    return "trainer.landmarks" if any(stage.name == POINTS for stage in recipe.stages) else ""


class PointLabels:
    """The five points of each face, (n, 5, 2) in 0..1 of the tile, and whether there are any."""

    def __init__(self, points: NDArray[np.float32], found: NDArray[np.bool_]) -> None:
        self.points, self.found = torch.from_numpy(points), torch.from_numpy(found)

    @classmethod
    def of(cls, faces: FaceSet, run_dir: Path) -> PointLabels:
        """Those that `trainer.landmarks` left in `run_dir`; raises DataError where it left none."""
        path = points_file(faces, run_dir)
        if not path.is_file():
            raise DataError("no landmarks of these faces", str(path), "see trainer.landmarks")
        with np.load(path, allow_pickle=False) as file:
            return cls(file["points"], file["found"])

    def loss(self, network: LandmarkNet, batch: Batch) -> Tensor:
        """Mean absolute distance of the found points of a batch, in sides of the face, times 10."""
        rows = batch.rows.cpu()
        wanted = moved(self.points[rows].to(batch.x.device), batch.warps)
        distance = (network.points(batch.x) - wanted).abs().mean(dim=(1, 2))
        found = self.found[rows].float().to(batch.x.device)
        return 10 * (distance * found).sum() / found.sum().clamp(min=1)


def points_file(faces: FaceSet, run_dir: Path) -> Path:
    """Where the points of these very faces are kept."""
    digest = hashlib.sha256(np.ascontiguousarray(faces.tiles).tobytes()).hexdigest()[:12]
    return run_dir / f"points-{digest}.npz"


def moved(points: Tensor, warps: Tensor) -> Tensor:
    """Points (n, 5, 2) in 0..1 of pictures, where `trainer.augment.warped` puts them."""
    old = 2 * points - 1 - warps[:, None, :, 2]
    new = (old @ torch.linalg.inv(warps[:, :, :2]).transpose(1, 2) + 1) / 2
    mirrored = torch.linalg.det(warps[:, :, :2]) < 0
    return torch.where(mirrored[:, None, None], new[:, MIRRORED], new)
