"""Poster: LRDif's rival without diffusion learns landmarks first, like it, then the labels."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from models.lrdif.network import Poster
from models.weights import ModelCard
from trainer.data.faceset import FaceSet
from trainer.objectives.base import Batch
from trainer.objectives.points import PointLabels
from trainer.objectives.softmax import SoftmaxObjective
from trainer.recipes import Recipe


class PosterObjective(SoftmaxObjective):
    """An `Objective` with the stages `points` and, under any other name, soft cross-entropy."""

    network: Poster

    def __init__(self, recipe: Recipe, card: ModelCard) -> None:
        super().__init__(recipe, card)
        self._landmarks = self.network.former.dil.landmarks
        self._learns_points = any(stage.name == "points" for stage in recipe.stages)

    def prepare(self, faces: FaceSet, run_dir: Path) -> None:
        """The faces' landmarks, where a stage learns from them."""
        if self._learns_points:
            self._points = PointLabels.of(faces, run_dir)

    def begin(self, stage: str) -> None:
        """Landmarks move in their own stage alone."""
        self._landmarks.requires_grad_(stage == "points")

    def parameters(self, stage: str) -> list[nn.Parameter]:
        """Of points the landmark network, else the rest."""
        if stage == "points":
            return list(self._landmarks.parameters())
        return super().parameters(stage)

    def loss(self, stage: str, batch: Batch) -> Tensor:
        """Distance of landmarks in points, else cross-entropy."""
        if stage == "points":
            return self._points.loss(self._landmarks.train(), batch)
        return super().loss(stage, batch)
