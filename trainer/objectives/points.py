"""Targets of the landmark network: five points per face, where the detector found any."""

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
"""The stage that trains the landmark network, before the expression stages."""
FLIPPED = [1, 0, 2, 4, 3]
"""Which point takes which place after a flip: eyes and corners of the mouth change sides."""


def annotator(recipe: Recipe) -> str:
    """The module that finds landmarks, where the recipe has the stage for them, else ""."""
    has_stage = any(stage.name == POINTS for stage in recipe.stages)
    return "trainer.objectives.landmarks" if has_stage else ""


class PointLabels:
    """The five points of each face, (n, 5, 2) in 0..1 of the tile, and whether there are any."""

    def __init__(self, points: NDArray[np.float32], found: NDArray[np.bool_]) -> None:
        self.points, self.found = torch.from_numpy(points), torch.from_numpy(found)

    @classmethod
    def of(cls, faces: FaceSet, run_dir: Path) -> PointLabels:
        """Those that `trainer.objectives.landmarks` wrote; raises DataError where it wrote none."""
        path = points_path(faces, run_dir)
        if not path.is_file():
            raise DataError(
                "no landmarks of these faces", str(path), "see trainer.objectives.landmarks"
            )
        with np.load(path, allow_pickle=False) as file:
            return cls(file["points"], file["found"])

    def loss(self, network: LandmarkNet, batch: Batch) -> Tensor:
        """Mean absolute error of the found points of a batch, in sides of the face, times 10."""
        rows = batch.rows.cpu()
        targets = warp_points(self.points[rows].to(batch.x.device), batch.warps)
        distance = (network.points(batch.x) - targets).abs().mean(dim=(1, 2))
        found = self.found[rows].float().to(batch.x.device)
        return 10 * (distance * found).sum() / found.sum().clamp(min=1)


def points_path(faces: FaceSet, run_dir: Path) -> Path:
    """The file of exactly these faces' points, named by their digest."""
    digest = hashlib.sha256(np.ascontiguousarray(faces.tiles).tobytes()).hexdigest()[:12]
    return run_dir / f"points-{digest}.npz"


def warp_points(points: Tensor, warps: Tensor) -> Tensor:
    """Points (n, 5, 2) in 0..1 of images, where `trainer.augment.warp_images` moves them."""
    old = 2 * points - 1 - warps[:, None, :, 2]
    new = (old @ torch.linalg.inv(warps[:, :, :2]).transpose(1, 2) + 1) / 2
    # A warp maps new places to old ones, so points take its inverse; where it flips, they also
    # change names: the eye on the right of a flipped face is its right eye.
    flipped = torch.linalg.det(warps[:, :, :2]) < 0
    return torch.where(flipped[:, None, None], new[:, FLIPPED], new)
