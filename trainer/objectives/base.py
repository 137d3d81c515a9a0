"""The interface between the training loop, which knows no model, and the models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from models.weights import ModelCard, State
from trainer.calibration import calibrate_temperature
from trainer.data.faceset import FaceSet
from trainer.recipes import Recipe
from trainer.samples import SampleTable


@dataclass(frozen=True)
class SoftLabels:
    """What teachers predict at a `temperature`: probabilities (n, K), which have `weight` in the
    loss."""

    probabilities: Tensor
    weight: float
    temperature: float


@dataclass(frozen=True)
class Batch:
    """Augmented faces: x (n, c, px, px), targets (n, K) probabilities, and for labels that are
    places in the image the maps (n, 2, 3) that x was warped by, and the faces' rows (n,).

    `soft_labels`: the teachers' predictions, where they are not mixed into the targets. `earlier`
    (n, observations, c, px, px): the same faces before x, the oldest first, under the same displays
    with noise of their own. `displays` (n, features): what `models.udc.description` says of each
    face's display, where the recipe has any.
    """

    x: Tensor
    targets: Tensor
    warps: Tensor
    rows: Tensor
    soft_labels: SoftLabels | None = None
    earlier: Tensor | None = None
    displays: Tensor | None = None


class Objective(ABC):
    """What is trained in each stage of a recipe, and which part of it serves.

    A family's objective is the class that its module in this package calls OBJECTIVE.
    """

    auxiliary_stages: ClassVar[frozenset[str]] = frozenset()
    """Stages that learn something other than expressions; their epochs do not count as budget."""
    takes_soft_labels: ClassVar[bool] = False
    """Whether its loss reads `Batch.soft_labels`."""
    steps_setting: ClassVar[str] = ""
    """The network's setting for the number of sampling steps, "" for a network without any."""

    network: nn.Module
    """All that is trained, saved in the checkpoint and averaged."""
    samples: SampleTable
    """Of the training faces, from `prepare` on."""

    @classmethod
    def annotator(cls, recipe: Recipe) -> str:
        """The module whose `annotate(faces, run_dir)` makes labels that readers do not have, "" for
        none. It may import what the loop must not: a detector, for example."""
        return ""

    @classmethod
    def compares_faces(cls, recipe: Recipe) -> bool:
        """Whether its loss compares the faces of a batch: then it trains with one worker only."""
        return False

    def prepare(self, samples: SampleTable, faces: FaceSet, run_dir: Path) -> None:
        """Take the sample table, and from `run_dir` the annotator's labels."""
        self.samples = samples

    def start_stage(self, stage: str) -> None:
        """Prepare for a stage that starts from the averaged weights of the one before."""
        return None

    def start_epoch(self, stage: str, epoch: int) -> None:
        """Called before epoch number `epoch`, from 0; also in a resumed run."""
        return None

    def end_epoch(self, stage: str, epoch: int) -> None:
        """Called after the last batch of an epoch: the place to update the sample table. Every
        worker calls it, and must compute the same table."""
        return None

    def parameters(self, stage: str) -> list[nn.Parameter]:
        """What the stage's optimiser updates: each must get a gradient at the first step. By
        default all parameters that are not frozen."""
        return [value for value in self.network.parameters() if value.requires_grad]

    @abstractmethod
    def loss(self, stage: str, batch: Batch) -> Tensor:
        """The loss of a batch, a scalar; the network is in training mode."""

    def train_metrics(self) -> dict[str, float]:
        """Metrics of the batches since the last call, beside their loss, by name."""
        return {}

    @abstractmethod
    def logits(self, stage: str, x: Tensor, ids: NDArray[np.int64]) -> Tensor | None:
        """Logits (n, K) of the network, in evaluation mode, for faces (n, c, px, px) and their
        ids; None in a stage whose logits would mean nothing."""

    def serving_state(self, state: State) -> State:
        """The part of `network`'s state that serves: by default all of it."""
        return state

    def calibrate(
        self, network: nn.Module, card: ModelCard, conditions: Mapping[str, FaceSet]
    ) -> ModelCard:
        """The card with what serving needs beside the weights, fitted on the validation split
        under the conditions that the weights were trained for: by default a temperature."""
        return calibrate_temperature(network, card, conditions)
