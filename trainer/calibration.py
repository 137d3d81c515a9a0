"""One number that makes confidences honest: the temperature that logits are divided by."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST, MOST = 0.05, 20.0
HALVINGS = 50


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature with the least cross-entropy (Guo et al. 2017, arXiv 1706.04599).

    logits (n, K), labels (n,) int64 of faces that were not trained on, n > 0. Returns 0.05..20;
    the bounds hold where there is no least, as when every answer is right.
    """
    logits = logits.double()
    of_label = logits.gather(1, labels[:, None]).mean()
    low, high = LEAST, MOST
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        expected = (torch.softmax(logits / middle, dim=1) * logits).sum(dim=1).mean()
        # Cross-entropy is convex in 1 / temperature, with `expected - of_label` for its slope.
        low, high = (middle, high) if expected > of_label else (low, middle)
    return (low * high) ** 0.5
