"""LRDif with a clean-twin prior: Z is what a clean network sees in the face without its display."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from models.baselines.resnet import ResNet18
from models.errors import ModelError
from models.loading import load_network
from models.weights import ModelCard
from trainer.clean_views import CleanViews
from trainer.data.faceset import FaceSet
from trainer.distillation import INPUT_FIELDS
from trainer.errors import DataError
from trainer.objectives.base import Batch
from trainer.objectives.lrdif.known_prior import KnownPriorObjective
from trainer.recipes import Recipe
from trainer.samples import SampleTable


class LRDifTwinObjective(KnownPriorObjective):
    """`teacher` names the clean-trained ResNet-18 of the zoo whose penultimate features Z is made
    of; it is frozen, and part of no checkpoint.

    Raises ModelError for a teacher or a network of another kind, DataError for a teacher of another
    input or one trained under displays.
    """

    def __init__(self, recipe: Recipe, card: ModelCard, teacher: str, **losses: float) -> None:
        self._teacher = open_twin_teacher(teacher, card)
        super().__init__(recipe, card, self._teacher.head.in_features, **losses)

    def prepare(self, samples: SampleTable, faces: FaceSet, run_dir: Path) -> None:
        """What the teacher sees in the clean faces."""
        super().prepare(samples, faces, run_dir)
        device = self.with_twin.former.head.weight.device
        self._teacher.to(device)
        self._features = CleanViews(faces, self._card, self.twin_features, str(device))

    def known_features(self, batch: Batch) -> Tensor:
        """The teacher's penultimate features of each face's clean twin."""
        return self._features(batch)

    @torch.no_grad()
    def twin_features(self, clean: Tensor) -> Tensor:
        """The teacher's penultimate features (n, F) of clean faces (n, c, px, px)."""
        return self._teacher.feature_maps(clean).mean(dim=(2, 3))


def open_twin_teacher(name: str, student: ModelCard) -> ResNet18:
    """A clean-trained ResNet-18 of the zoo, frozen, in evaluation mode, for a student's input.

    Raises ModelError for weights of another model, DataError for other inputs or weights that were
    trained under displays.
    """
    network, card = load_network(name)
    if not isinstance(network, ResNet18):
        raise ModelError(f"features of {card.model}", name, "give weights of resnet18")
    for fact in INPUT_FIELDS:
        ours, theirs = getattr(student, fact), getattr(card, fact)
        if ours != theirs:
            what = f"a teacher with {fact} {theirs!r}, the student has {ours!r}"
            raise DataError(what, name, "give a teacher of the student's input")
    if card.recipe.get("panel"):
        raise DataError("a teacher of clean images that was trained under displays", name,
                        "give one that was trained on clean faces")  # fmt: skip
    return network.requires_grad_(False)


OBJECTIVE = LRDifTwinObjective
