"""Fewer evaluations where each emotion costs one: unlikely emotions are dropped on the way.

Two rules, for heads that evaluate emotions one by one. Successive halving keeps a fixed number of
emotions after a fixed number of timesteps (Li et al. 2023, arXiv 2303.16203, section 3.3). The
paired test drops an emotion once its errors are significantly above those of the best (Clark &
Jaini 2023, arXiv 2303.15233), at a few fixed checks: a test after every timestep would drop the
right one far more often than its level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

Evaluate = Callable[[int, Tensor], Tensor]
"""(timestep, which emotions of which faces (n, K) bool) -> their weighted errors (n, K), each of
the same noise; those of the others are not read."""
HALVINGS = ((0.25, 0.5), (0.5, 0.25), (1.0, 0.125))
"""Share of the timesteps, and share of the emotions that are kept after them."""
CHECKS = (0.2, 0.5, 1.0)
"""Shares of the timesteps after which emotions are tested: 20, 50 and 100 of 100."""
LEAST_EXCESS = 1e-4
"""Of a dropped emotion above those that are left."""
LEVEL = 2e-3
"""Probability that an emotion that is as likely as all others is dropped."""


class Tally:
    """Errors of n faces under K emotions over up to `steps` timesteps, and what they cost.

    `evaluations` (n,) int64: forwards of the network, one for each emotion and timestep. `errors`
    (steps, n, K), NaN where an emotion had been dropped.
    """

    def __init__(self, evaluate: Evaluate, steps: int, n: int, classes: int) -> None:
        self._evaluate, self.steps, self.steps_done = evaluate, steps, 0
        self.active = torch.ones(n, classes, dtype=torch.bool)
        self.errors = torch.full((steps, n, classes), math.nan)
        self.evaluations = torch.zeros(n, dtype=torch.long)

    def advance(self, step: int) -> None:
        """Evaluate the emotions that are left up to timestep number `step`, it not included."""
        for number in range(self.steps_done, step):
            found = self._evaluate(number, self.active)
            self.errors[number] = torch.where(self.active, found, math.nan)
            self.evaluations += self.active.sum(dim=1)
        self.steps_done = max(self.steps_done, step)

    def best(self) -> Tensor:
        """The emotion (n,) of the least mean error; ties go to the first."""
        means = self.errors[: self.steps_done].mean(dim=0)
        return means.where(self.active, math.inf).argmin(dim=1)

    def excess(self) -> Tensor:
        """By how much each mean error (n, K) is above the best one's, over the timesteps at which
        an emotion was evaluated. A dropped one is never below those that are left."""
        done, rows = self.errors[: self.steps_done], torch.arange(len(self.active))
        excess = (done - done[:, rows, self.best()][:, :, None]).nanmean(dim=0)
        worst = excess.where(self.active, -math.inf).amax(dim=1, keepdim=True)
        return torch.where(self.active, excess, torch.maximum(excess, worst + LEAST_EXCESS))


def evaluate_all(tally: Tally) -> Tally:
    """Every emotion at every timestep: the reference."""
    tally.advance(tally.steps)
    return tally


def halve(tally: Tally, rounds: Sequence[tuple[int, int]]) -> Tally:
    """Successive halving: `rounds` are (timesteps, emotions kept after them), both in order; the
    kept ones are those of the least mean error so far."""
    for step, kept in rounds:
        tally.advance(step)
        excess = tally.excess().where(tally.active, math.inf)
        order = excess.argsort(dim=1, stable=True)[:, :kept]
        tally.active &= torch.zeros_like(tally.active).scatter(1, order, value=True)
    return tally


def halving_rounds(steps: int, classes: int) -> list[tuple[int, int]]:
    """The rounds of `HALVINGS`, none before the first timestep; the last one leaves the prediction.

    >>> halving_rounds(16, 8)
    [(4, 4), (8, 2), (16, 1)]
    """
    return [(max(round(done * steps), 1), max(round(kept * classes), 1)) for done, kept in HALVINGS]


def drop_by_test(tally: Tally, checks: Sequence[int], level: float = LEVEL) -> Tally:
    """The paired test: after each number of timesteps in `checks` an emotion is dropped where a
    one-sided t-test finds its errors above the best one's, at the level of all checks and pairs
    together. What is left after the last is decided by the mean."""
    classes = tally.active.shape[1]
    for step in checks:
        tally.advance(step)
        done = tally.errors[:step]
        best = tally.best()
        rows = torch.arange(len(best))
        paired = done - done[:, rows, best][:, :, None]
        mean, deviation = paired.mean(dim=0), paired.std(dim=0)
        limit = t_quantile(1 - level / (len(checks) * (classes - 1)), step - 1)
        # NaN, of an emotion that was dropped before, compares as false. One that is the best's
        # equal at every timestep has a mean of 0.
        tally.active &= ~(mean * math.sqrt(step) > limit * deviation)
    return tally


def check_steps(steps: int) -> list[int]:
    """The timesteps of `CHECKS`, two or more each: one difference has no deviation.

    >>> check_steps(100)
    [20, 50, 100]
    """
    return sorted({max(round(share * steps), 2) for share in CHECKS} & set(range(steps + 1)))


def t_quantile(probability: float, freedom: int) -> float:
    """The quantile of Student's t, by numbers: for probabilities above 0.5.

    >>> round(t_quantile(0.975, 9), 3)
    2.262
    """
    # t = tan(angle) sqrt(freedom) makes the density cos(angle) ** (freedom - 1): bounded, on a
    # bounded range.
    angles = np.linspace(-math.pi / 2, math.pi / 2, 200_001)
    density = np.cos(angles) ** (freedom - 1)
    cumulated = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    angle = np.interp(probability, cumulated / cumulated[-1], angles)
    return float(np.tan(angle) * math.sqrt(freedom))
