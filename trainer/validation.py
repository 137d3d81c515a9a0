"""Evaluates a network in training on the validation split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.weights import ModelCard, State
from trainer.data.faceset import FaceSet
from trainer.inputs import CHUNK, build_inputs, build_udc_inputs
from trainer.objectives.base import Objective
from trainer.recipes import RandomPanel


@dataclass(frozen=True)
class HardFace:
    """A face with a high loss: its tile (h, w[, 3]) uint8, label, predicted class and loss."""

    tile: NDArray[np.uint8]
    label: str
    predicted: str
    loss: float


@dataclass(frozen=True)
class ValidationResult:
    """`metrics`: accuracies by name, and the `recall` of each class of clean faces; `score`: what
    weights are chosen by, the mean accuracy, None in a stage without logits. logits (n, K): of the
    clean faces."""

    metrics: dict[str, Any]
    score: float | None = None
    logits: Tensor | None = None


@dataclass(frozen=True)
class ValidationSplit:
    """Faces that choose between weights and are never trained on, as network inputs.

    `inputs`: by the name of the metric, all faces (n, c, px, px) under one condition.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    ids: NDArray[np.int64]
    classes: tuple[str, ...]
    tiles: NDArray[np.uint8]

    @classmethod
    def of(
        cls, faces: FaceSet, card: ModelCard, panel: RandomPanel | None = None
    ) -> ValidationSplit:
        """Clean faces, and where the recipe has displays, the same faces once more under them."""
        inputs = {"accuracy": build_inputs(faces, card)}
        if panel:
            inputs["accuracy_udc"] = build_udc_inputs(faces, card, panel)
        labels = torch.from_numpy(faces.labels)
        return cls(inputs, labels, faces.ids, faces.classes, faces.tiles)

    @torch.no_grad()
    def evaluate(self, objective: Objective, stage: str, state: State) -> ValidationResult:
        """What the averaged weights `state` predict; nothing in a stage without logits.

        The network has its own weights again afterwards.
        """
        network = objective.network
        own = {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict(state)
        network.eval()
        predicted = {name: self._predict(objective, stage, x) for name, x in self.inputs.items()}
        network.load_state_dict(own)
        logits = {name: values for name, values in predicted.items() if values is not None}
        if not logits:
            return ValidationResult({})
        is_right = {name: values.argmax(dim=1) == self.labels for name, values in logits.items()}
        accuracies = {name: round(float(v.float().mean()), 5) for name, v in is_right.items()}
        clean = next(iter(is_right))
        score = sum(accuracies.values()) / len(accuracies)
        recall = {"recall": self._recall(is_right[clean])}
        return ValidationResult(accuracies | recall, score, logits[clean])

    def list_hardest(self, found: ValidationResult, count: int) -> dict[str, list[HardFace]]:
        """The `count` faces with the highest loss, the worst first, as `hardest`; {} where none are
        wanted, or nothing was predicted."""
        if found.logits is None or not count:
            return {}
        losses = functional.cross_entropy(found.logits, self.labels, reduction="none")
        predicted = found.logits.argmax(dim=1)
        faces = [
            HardFace(
                self.tiles[row],
                self.classes[int(self.labels[row])],
                self.classes[int(predicted[row])],
                round(float(losses[row]), 4),
            )
            for row in losses.argsort(descending=True)[:count].tolist()
        ]
        return {"hardest": faces}

    def _recall(self, is_right: Tensor) -> dict[str, float]:
        """The share of right predictions of each class that has faces."""
        return {
            name: round(float(is_right[self.labels == number].float().mean()), 4)
            for number, name in enumerate(self.classes)
            if (self.labels == number).any()
        }

    def _predict(self, objective: Objective, stage: str, inputs: Tensor) -> Tensor | None:
        """Logits (n, K), on the CPU."""
        device = next(objective.network.parameters()).device
        found: list[Tensor] = []
        for start in range(0, len(inputs), CHUNK):
            part = slice(start, start + CHUNK)
            logits = objective.logits(stage, inputs[part].to(device), self.ids[part])
            if logits is None:
                return None
            found.append(logits.float().cpu())
        return torch.cat(found)
