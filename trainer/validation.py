"""Evaluates a network in training on the validation split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.weights import ModelCard, State
from trainer.data.faceset import FaceSet
from trainer.inputs import CHUNK, build_inputs, build_udc_inputs
from trainer.objectives.base import Objective
from trainer.recipes import RandomPanel


@dataclass(frozen=True)
class ValidationSplit:
    """Faces that choose between weights and are never trained on, as network inputs.

    `inputs`: by the name of the metric, all faces (n, c, px, px) under one condition.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    ids: NDArray[np.int64]

    @classmethod
    def of(
        cls, faces: FaceSet, card: ModelCard, panel: RandomPanel | None = None
    ) -> ValidationSplit:
        """Clean faces, and where the recipe has displays, the same faces once more under them."""
        inputs = {"accuracy": build_inputs(faces, card)}
        if panel:
            inputs["accuracy_udc"] = build_udc_inputs(faces, card, panel)
        return cls(inputs, torch.from_numpy(faces.labels), faces.ids)

    @torch.no_grad()
    def evaluate(self, objective: Objective, stage: str, state: State) -> dict[str, float]:
        """Accuracies of the averaged weights `state` by name, or nothing in a stage without logits.

        The network has its own weights again afterwards.
        """
        network = objective.network
        own = {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict(state)
        network.eval()
        predicted = {name: self._predict(objective, stage, x) for name, x in self.inputs.items()}
        network.load_state_dict(own)
        return {
            name: round(float((classes == self.labels).float().mean()), 5)
            for name, classes in predicted.items()
            if classes is not None
        }

    def _predict(self, objective: Objective, stage: str, inputs: Tensor) -> Tensor | None:
        device = next(objective.network.parameters()).device
        classes: list[Tensor] = []
        for start in range(0, len(inputs), CHUNK):
            part = slice(start, start + CHUNK)
            logits = objective.logits(stage, inputs[part].to(device), self.ids[part])
            if logits is None:
                return None
            classes.append(logits.argmax(dim=1).cpu())
        return torch.cat(classes)
