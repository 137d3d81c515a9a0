"""EmoDC's first stage: a classifier of faces at every noise level, which knows the level.

With an emotion's probability at every noise level, the noise under its description is known too: by
Tweedie's formula they differ by sigma times the gradient of its logarithm. So the classifier is
learned first, and its decoder after (`trainer.objectives.emodc`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.emodc.encoder import NoiseResNet18
from models.errors import ModelError
from models.loading import build_network
from models.weights import ModelCard
from trainer.data.faceset import FaceSet
from trainer.objectives.base import Batch, Objective
from trainer.objectives.emodc.noisy_faces import CleanTeacher, sample_sigmas, with_noise
from trainer.objectives.emodc.weights import fit_own_noise_floor
from trainer.recipes import Recipe
from trainer.samples import SampleTable


class NoiseResNetObjective(Objective):
    """Soft cross-entropy of noisy faces, and, with the name of a `teacher`, `distill` times the
    divergence from what that clean-trained network predicts of the clean face."""

    steps_setting = "steps"
    network: NoiseResNet18

    def __init__(
        self, recipe: Recipe, card: ModelCard, teacher: str = "", distill: float = 0.5
    ) -> None:
        network = build_network(card)
        if not isinstance(network, NoiseResNet18):
            raise ModelError(f"a network of {card.model}", card.name, "give noise-resnet18")
        self.network, self._card = network, card
        self._teacher = CleanTeacher(teacher, distill, card)

    def prepare(self, samples: SampleTable, faces: FaceSet, run_dir: Path) -> None:
        """What the teacher predicts of the clean faces."""
        super().prepare(samples, faces, run_dir)
        self._teacher.prepare(faces, next(self.network.parameters()).device)

    def loss(self, stage: str, batch: Batch) -> Tensor:
        """The loss of one noisy copy of each face."""
        return classifier_loss(self.network, self._teacher, batch)

    def logits(self, stage: str, x: Tensor, ids: NDArray[np.int64]) -> Tensor | None:
        """Those of the faces as they are: as a plain classifier."""
        logits: Tensor = self.network(x)
        return logits

    def calibrate(
        self, network: nn.Module, card: ModelCard, conditions: Mapping[str, FaceSet]
    ) -> ModelCard:
        """The card with a temperature; what clean faces have for noise goes into the network."""
        assert isinstance(network, NoiseResNet18)
        fit_own_noise_floor(network, card, conditions)
        return super().calibrate(network, card, conditions)


def classifier_loss(network: NoiseResNet18, teacher: CleanTeacher, batch: Batch) -> Tensor:
    """Cross-entropy of one noisy copy of each face of a batch, and the teacher's loss."""
    sigma = sample_sigmas(len(batch.x), batch.x.device)
    logits = network(with_noise(batch.x, sigma)[0], sigma).float()
    return functional.cross_entropy(logits, batch.targets) + teacher.loss(logits, batch)


OBJECTIVE = NoiseResNetObjective
