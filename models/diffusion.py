"""Diffusion over tensors of any shape: schedules, forward and reverse (DDPM, arXiv 2006.11239).

The first axis is the sample; step t counts from T, pure or nearly pure noise, down to 1, and z_0 is
the data. What a network predicts is `param`: `x0`, the data itself; `eps`, the noise of the forward
process as a whole; or `eps_printed16`, the noise of a single step, with which alone equation 16 of
LRDif (arXiv 2402.00250) as printed is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

PARAMS = ("x0", "eps", "eps_printed16")
Predict = Callable[[Tensor, int], Tensor]
"""(z_t (n, ...), t) -> what `param` names, of the same shape."""
Schedule = Callable[[int], list[float]]
"""Steps T -> the betas of steps 1 to T, each in 0..1."""


def root_linear_betas(steps: int) -> list[float]:
    """From 0.1 to 0.99, evenly in the square root: LRDif's schedule of a few steps.

    >>> [round(beta, 4) for beta in root_linear_betas(4)]
    [0.1, 0.2943, 0.591, 0.99]
    """
    roots = np.linspace(math.sqrt(0.1), math.sqrt(0.99), steps)
    return [float(root) ** 2 for root in roots]


def cosine_betas(steps: int, offset: float = 0.008) -> list[float]:
    """Betas of a share of signal that falls as a squared cosine (arXiv 2102.09672, eq. 17), none
    above 0.999.

    >>> [round(beta, 4) for beta in cosine_betas(4)]
    [0.153, 0.417, 0.7079, 0.999]
    """
    angle = [(step / steps + offset) / (1 + offset) * math.pi / 2 for step in range(steps + 1)]
    return [
        min(1 - math.cos(now) ** 2 / math.cos(before) ** 2, 0.999)
        for before, now in pairwise(angle)
    ]


class Diffusion:
    """The `schedule` of `steps` steps and what follows from it, as plain numbers.

    With `zero_snr` the last beta is 1, so that z_T is noise alone and tells nothing of z_0 (Lin et
    al. 2023, arXiv 2305.08891). With `insert_noise` every reverse step but the last adds noise of
    the posterior's variance.
    Raises ValueError for no step, an unknown `param`, or `zero_snr` without x0: eps cannot be
    divided out of pure noise.
    """

    def __init__(
        self,
        steps: int = 4,
        param: str = "x0",
        zero_snr: bool = True,
        insert_noise: bool = False,
        schedule: Schedule = root_linear_betas,
    ) -> None:
        if steps < 1 or param not in PARAMS:
            raise ValueError(f"{steps} steps of {param!r}: give 1 or more of {', '.join(PARAMS)}")
        if zero_snr and param != "x0":
            raise ValueError(f"zero_snr with param {param!r}: it is defined for x0 alone")
        self.steps, self.param, self.insert_noise = steps, param, insert_noise
        self.betas = schedule(steps)
        if zero_snr:
            self.betas[-1] = 1.0
        self.alpha_bars = [1.0]
        for beta in self.betas:
            self.alpha_bars.append(self.alpha_bars[-1] * (1 - beta))

    def forward(self, z: Tensor, noise: Tensor, t: int | Tensor | None = None) -> Tensor:
        """z_t from z_0 and N(0, I) noise, both (n, ...); `t` is one step for all, a step for each
        sample, (n,) int64 in 0..T, or T where it is not given."""
        if isinstance(t, Tensor):
            kept = torch.tensor(self.alpha_bars, dtype=z.dtype, device=z.device)[t]
            kept = kept.view(-1, *[1] * (z.ndim - 1))
            return kept.sqrt() * z + (1 - kept).sqrt() * noise
        share = self.alpha_bars[self.steps if t is None else t]
        return math.sqrt(share) * z + math.sqrt(1 - share) * noise

    def posterior(self, t: int) -> tuple[float, float, float]:
        """E[z_{t-1} | z_t, z_0] = a z_0 + b z_t and its variance: (a, b, variance)."""
        beta, now, before = self.betas[t - 1], self.alpha_bars[t], self.alpha_bars[t - 1]
        return (
            beta * math.sqrt(before) / (1 - now),
            (1 - before) * math.sqrt(1 - beta) / (1 - now),
            beta * (1 - before) / (1 - now),
        )

    def step(self, z: Tensor, t: int, predicted: Tensor, noise: Tensor | None = None) -> Tensor:
        """z_{t-1} from z_t and what was predicted of it; `noise` is used with `insert_noise`."""
        a, b, variance = self.posterior(t)
        if self.param == "x0":
            mean = a * predicted + b * z
        else:
            beta = self.betas[t - 1]
            rest = 1 - self.alpha_bars[t] if self.param == "eps" else beta
            mean = (z - predicted * beta / math.sqrt(rest)) / math.sqrt(1 - beta)
        if self.insert_noise and noise is not None and t > 1:
            return mean + math.sqrt(variance) * noise
        return mean

    def reverse(
        self,
        z: Tensor,
        predict: Predict,
        noises: Sequence[Tensor] = (),
        levels: Tensor | None = None,
    ) -> Tensor:
        """z_0 from z_T (n, ...), or, with `levels` (n,) int64 in 1..T, from each sample's z at its
        own level. `noises` are those of steps T to 2; gradients reach every call."""
        for t in range(self.steps, 0, -1):
            noise = noises[self.steps - t] if self.steps - t < len(noises) else None
            stepped = self.step(z, t, predict(z, t), noise)
            if levels is not None:
                begun = (levels >= t).view(-1, *[1] * (z.ndim - 1))
                stepped = torch.where(begun, stepped, z)
            z = stepped
        return z
