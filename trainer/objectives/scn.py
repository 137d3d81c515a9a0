"""Weigh, rank, relabel: the rival SCN, which tells sure faces from uncertain ones.

Wang, Peng, Yang, Lu & Qiao 2020, "Suppressing Uncertainties for Large-Scale Facial Expression
Recognition" (CVPR), the Self-Cure Network.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.baselines.resnet import ResNet18
from models.weights import ModelCard, State
from trainer.data.faceset import FaceSet
from trainer.objectives.base import Batch
from trainer.objectives.softmax import SoftmaxObjective
from trainer.recipes import Recipe

UNTOUCHED = -1


@dataclass(frozen=True)
class Cure:
    """`top` share of a batch that counts as sure, and the `margin` by which its mean weight must
    lead the others'; from epoch `relabel_from` (of 0) on, a face gets another label where the
    likeliest class leads its own by more than `relabel_lead`. The numbers of the authors' code."""

    top: float = 0.7
    margin: float = 0.15
    relabel_from: int = 10
    relabel_lead: float = 0.2


class SCNObjective(SoftmaxObjective):
    """An `Objective`: soft cross-entropy of logits times a face's weight (eq. 3), and the loss that
    ranks weights (eq. 4), one to one.

    Labels are votes here: a face's own class is its likeliest, and a relabelled face learns the new
    class alone. New labels stand in a table beside the votes: a face whose lead is gone gets its
    votes back. What serves is the plain network: a weight does not change which answer is likeliest.
    Faces of a batch are ranked among each other, so one worker must see them all.
    """

    def __init__(self, recipe: Recipe, card: ModelCard, **cure: float) -> None:
        super().__init__(recipe, card)
        self.cure = Cure(**cure)  # type: ignore[arg-type]
        self._batches = [stage.batch for stage in recipe.stages]
        self.network = SelfCuring(self.network)

    def prepare(self, faces: FaceSet, run_dir: Path) -> None:
        """A place for each face's new label, and how many steps come before the first."""
        self.network.make_room(len(faces))
        self._first_step = self.cure.relabel_from * (len(faces) // self._batches[0])

    network: SelfCuring
