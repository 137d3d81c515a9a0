"""Temperature scaling: the number that logits are divided by so that confidence is accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from models.loading import as_classifier
from models.weights import ModelCard
from trainer.data.faceset import FaceSet
from trainer.inputs import CHUNK, build_inputs

LOWEST, HIGHEST = 0.05, 20.0
BISECTIONS = 50
ENOUGH = 10_000
"""Predictions that one temperature is fitted to: its standard error is about a hundredth, and all
of twenty conditions take as long as an epoch of training."""


def calibrate_temperature(
    network: nn.Module, card: ModelCard, conditions: Mapping[str, FaceSet]
) -> ModelCard:
    """The card with the temperature fitted on the validation split under all these conditions; of
    more than ENOUGH predictions on every nth face, another one under each condition."""
    step = max(1, sum(map(len, conditions.values())) // ENOUGH)
    parts = [faces[start % step :: step] for start, faces in enumerate(conditions.values())]
    logits = torch.cat([_logits(network, card, faces) for faces in parts])
    labels = torch.cat([torch.from_numpy(faces.labels) for faces in parts])
    return replace(card, temperature=round(fit_temperature(logits, labels), 4))


def _logits(network: nn.Module, card: ModelCard, faces: FaceSet) -> Tensor:
    classifier = as_classifier(network, card, flip=True)
    parts = [slice(start, start + CHUNK) for start in range(0, len(faces), CHUNK)]
    inputs = build_inputs(faces, card)
    with torch.inference_mode():
        return torch.cat([classifier.logits(inputs[p], faces.ids[p]) for p in parts])


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature with the least cross-entropy (Guo et al. 2017, arXiv 1706.04599).

    logits (n, K), labels (n,) int64 of faces that were not trained on, n > 0. Returns 0.05..20;
    a bound where there is no minimum, as when every prediction is right.
    """
    logits = logits.double()
    of_label = logits.gather(1, labels[:, None]).mean()
    low, high = LOWEST, HIGHEST
    for _ in range(BISECTIONS):
        # Geometric: temperatures are a scale, 0.05 is as far from 1 as 20 is.
        middle = (low * high) ** 0.5
        expected = (torch.softmax(logits / middle, dim=1) * logits).sum(dim=1).mean()
        # Cross-entropy is convex in 1 / temperature, with `expected - of_label` for its slope.
        low, high = (middle, high) if expected > of_label else (low, middle)
    return (low * high) ** 0.5
