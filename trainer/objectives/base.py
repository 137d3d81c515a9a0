"""The seam between the loop, which knows no model, and the models, which know no loop."""

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
class Batch:
    """Faces as a network is shown them: x (n, c, px, px), targets (n, K) shares, and for what is
    tied to places the maps (n, 2, 3) that x was warped by and the faces' rows (n,).

    `clean` (n, c, px, px), where the recipe asks for it: the same faces under the same warps, but
    not seen through a display, nor repainted.
    """

    x: Tensor
    targets: Tensor
    warps: Tensor
    rows: Tensor
    clean: Tensor | None = None


class Objective(ABC):
    """What is trained in each stage of a recipe, and what is kept of it at the end.

    A family's objective is the class that its module in this package calls OBJECTIVE.
    """

    mixes_faces: ClassVar[bool] = False
    """Whether its loss looks from one face of a batch at others: then one worker must train it."""
    auxiliary_stages: ClassVar[frozenset[str]] = frozenset()
    """Stages that learn something other than expressions: no epoch of theirs is compared."""

    network: nn.Module
    """All that is trained, kept in the checkpoint and averaged."""
    samples: SampleTable
    """Of the faces that are trained on, from `prepare` on."""

    @classmethod
    def annotator(cls, recipe: Recipe) -> str:
        """The module whose `annotate(faces, run_dir)` makes labels that readers do not have, "" for
        none. It may need more than the loop: a detector, say."""
        return ""

    def prepare(self, samples: SampleTable, faces: FaceSet, run_dir: Path) -> None:
        """Take the table of samples, and from `run_dir` what the annotator left there."""
        self.samples = samples

    def start_stage(self, stage: str) -> None:
        """Make ready for a stage that starts from the averaged weights of the one before."""
        return None

    def start_epoch(self, stage: str, epoch: int) -> None:
        """Epoch number `epoch`, from 0, is about to begin; a resumed run calls this alike."""
        return None

    def end_epoch(self, stage: str, epoch: int) -> None:
        """All batches of the epoch are done: the place to judge the samples anew. Every worker
        calls it, and must come to the same table."""
        return None

    def parameters(self, stage: str) -> list[nn.Parameter]:
        """What the stage's optimiser moves: each must get a gradient at the first step. All that
        its network does not fix, unless a family says otherwise."""
        return [value for value in self.network.parameters() if value.requires_grad]

    @abstractmethod
    def loss(self, stage: str, batch: Batch) -> Tensor:
        """The loss of a batch, a scalar; the network is in training mode."""

    def train_metrics(self) -> dict[str, float]:
        """What the batches since it was last asked showed beside their loss, by name."""
        return {}

    @abstractmethod
    def logits(self, stage: str, x: Tensor, ids: NDArray[np.int64]) -> Tensor | None:
        """Logits (n, K) of the network, in evaluation mode, for faces (n, c, px, px) and their
        ids; None in a stage whose logits would mean nothing."""

    def serving_state(self, state: State) -> State:
        """The part of `network`'s state that serves: all of it, unless a family says otherwise."""
        return state

    def calibrate(
        self, network: nn.Module, card: ModelCard, learned: Mapping[str, FaceSet]
    ) -> ModelCard:
        """The card with what serving needs to know beside the weights, fitted on validation faces
        under the conditions that they were `learned` for: here, a temperature."""
        return calibrate_temperature(network, card, learned)
