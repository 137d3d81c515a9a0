"""Measures a network in training on the faces that are held out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.weights import ModelCard, State
from trainer.data.faceset import FaceSet
from trainer.inputs import CHUNK, inputs_behind, model_inputs
from trainer.objectives.base import Objective
from trainer.recipes import PanelDraws


@dataclass(frozen=True)
class Validation:
    """The faces that are held out, as a network takes them: by the name of what is measured, all
    of them (n, c, px, px)."""

    inputs: dict[str, Tensor]
    labels: Tensor
    ids: NDArray[np.int64]

    @classmethod
    def of(cls, faces: FaceSet, card: ModelCard, panel: PanelDraws | None = None) -> Validation:
        """All of them unchanged, and once more behind displays where training has some."""
        inputs = {"accuracy": model_inputs(faces, card)}
        if panel:
            inputs["accuracy_behind_displays"] = inputs_behind(faces, card, panel)
        return cls(inputs, torch.from_numpy(faces.labels), faces.ids)

    @torch.no_grad()
    def measured(self, objective: Objective, stage: str, state: State) -> dict[str, float]:
        """The share of right answers of the averaged weights, by name, or nothing in a stage that
        has no answers; the network gets its own weights back."""
        network = objective.network
        own = {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict(state)
        network.eval()
        said = {name: self._answers(objective, stage, x) for name, x in self.inputs.items()}
        network.load_state_dict(own)
        return {
            name: round(float((answers == self.labels).float().mean()), 5)
            for name, answers in said.items()
            if answers is not None
        }

    def _answers(self, objective: Objective, stage: str, inputs: Tensor) -> Tensor | None:
        device = next(objective.network.parameters()).device
        answers: list[Tensor] = []
        for start in range(0, len(inputs), CHUNK):
            part = slice(start, start + CHUNK)
            logits = objective.logits(stage, inputs[part].to(device), self.ids[part])
            if logits is None:
                return None
            answers.append(logits.argmax(dim=1).cpu())
        return torch.cat(answers)
