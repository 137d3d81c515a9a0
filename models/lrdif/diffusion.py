"""Diffusion over a vector Z in a few steps: schedule, forward and reverse (LRDif, eq. 14 to 16).

Step t counts from T, pure or nearly pure noise, down to 1; Z_0 is the answer. What a network
predicts is `param`: `x0`, the answer itself; `eps`, the noise of eq. 14 as a whole; or
`eps_printed16`, the noise of a single step, with which alone eq. 16 as printed is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

PARAMS = ("x0", "eps", "eps_printed16")
Predict = Callable[[Tensor, int], Tensor]
"""(Z_t (n, C), t) -> what `param` names, (n, C)."""


class Diffusion:
    """The schedule of `steps` steps and what follows from it, as plain numbers.

    beta rises from 0.1 to 0.99, evenly in its root. With `zero_snr` the last is 1, so that Z_T is
    noise alone and can tell nothing of Z (Lin et al. 2023, arXiv 2305.08891). With `insert_noise`
    every reverse step but the last adds noise of the posterior's variance.
    Raises ValueError for no step, an unknown `param`, or `zero_snr` without x0: eps cannot be
    divided out of pure noise.
    """

    def __init__(
        self,
        steps: int = 4,
        param: str = "x0",
        zero_snr: bool = True,
        insert_noise: bool = False,
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

    def forward(self, z: Tensor, noise: Tensor, t: int | None = None) -> Tensor:
        """Z_t from Z_0 and N(0, I) noise, both (n, C); t = T unless said (eq. 14)."""
        kept = self.alpha_bars[self.steps if t is None else t]
        return math.sqrt(kept) * z + math.sqrt(1 - kept) * noise

    def posterior(self, t: int) -> tuple[float, float, float]:
        """E[Z_{t-1} | Z_t, Z_0] = a Z_0 + b Z_t and its variance: (a, b, variance)."""
        beta, now, before = self.betas[t - 1], self.alpha_bars[t], self.alpha_bars[t - 1]
        return (
            beta * math.sqrt(before) / (1 - now),
            (1 - before) * math.sqrt(1 - beta) / (1 - now),
            beta * (1 - before) / (1 - now),
        )

    def step(self, z: Tensor, t: int, predicted: Tensor, noise: Tensor | None = None) -> Tensor:
        """Z_{t-1} from Z_t and what was predicted of it; `noise` is used with `insert_noise`."""
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

    def reverse(self, z: Tensor, predict: Predict, noises: Sequence[Tensor] = ()) -> Tensor:
        """Z_0 from Z_T (n, C). `noises` are those of steps T to 2; gradients reach every call."""
        for t in range(self.steps, 0, -1):
            noise = noises[self.steps - t] if self.steps - t < len(noises) else None
            z = self.step(z, t, predict(z, t), noise)
        return z


def schedule(steps: int) -> list[float]:
    """The betas of steps 1 to T.

    >>> [round(beta, 4) for beta in schedule(4)]
    [0.1, 0.2943, 0.591, 0.99]
    """
    roots = np.linspace(math.sqrt(0.1), math.sqrt(0.99), steps)
    return [float(root) ** 2 for root in roots]
