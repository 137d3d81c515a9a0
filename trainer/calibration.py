"""One number that makes confidences honest: the temperature that logits are divided by."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature with the least cross-entropy (Guo et al. 2017, arXiv 1706.04599).

    logits (n, K), labels (n,) of faces that were not trained on. Returns a positive float.
    """
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_t], lr=0.5, max_iter=100, line_search_fn="strong_wolfe")
    fixed = logits.detach().double()

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(fixed / log_t.exp(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return float(log_t.detach().exp())
