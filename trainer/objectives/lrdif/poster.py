"""Poster, LRDif's network without diffusion: landmarks first, then expressions."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from models.lrdif.network import Poster
from models.weights import ModelCard
from trainer.data.faceset import FaceSet
from trainer.objectives.base import Batch
from trainer.objectives.points import POINTS, PointLabels, annotator
from trainer.objectives.softmax import SoftmaxObjective
from trainer.recipes import Recipe
from trainer.samples import SampleTable


class PosterObjective(SoftmaxObjective):
    """The stage `points`, and soft cross-entropy in all others."""

    auxiliary_stages = frozenset({POINTS})
    network: Poster

    @classmethod
    def annotator(cls, recipe: Recipe) -> str:
        """The faces' landmarks, where a stage learns from them."""
        return annotator(recipe)

    def __init__(self, recipe: Recipe, card: ModelCard) -> None:
        super().__init__(recipe, card)
        self._landmarks = self.network.former.dil.landmarks
        self._learns_points = bool(annotator(recipe))

    def prepare(self, samples: SampleTable, faces: FaceSet, run_dir: Path) -> None:
        """The faces' landmarks, where a stage learns from them."""
        super().prepare(samples, faces, run_dir)
        if self._learns_points:
            self._points = PointLabels.of(faces, run_dir)

    def start_stage(self, stage: str) -> None:
        """The landmark network is trained in its own stage only."""
        self._landmarks.requires_grad_(stage == POINTS)

    def parameters(self, stage: str) -> list[nn.Parameter]:
        """In `points` the landmark network, else the rest."""
        if stage == POINTS:
            return list(self._landmarks.parameters())
        return super().parameters(stage)

    def loss(self, stage: str, batch: Batch) -> Tensor:
        """Distance of landmarks in `points`, else cross-entropy."""
        if stage == POINTS:
            return self._points.loss(self._landmarks.train(), batch)
        return super().loss(stage, batch)


OBJECTIVE = PosterObjective
