"""What a prediction costs: evaluations of the network and their multiply-adds, counted exactly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """`evaluations`: forwards of the network (NFE), one for each face, noise level and, where a
    head evaluates emotions one by one, emotion; `multiply_adds` of all of them.

    >>> Cost(4, 100) + Cost(1, 25)
    Cost(evaluations=5, multiply_adds=125)
    """

    evaluations: int = 0
    multiply_adds: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.evaluations + other.evaluations, self.multiply_adds + other.multiply_adds)

    def __mul__(self, times: int) -> Cost:
        return Cost(self.evaluations * times, self.multiply_adds * times)


def count_multiply_adds(network: nn.Module, *inputs: Tensor) -> int:
    """Of one forward in convolutions and matrix products, as torch counts them (a multiplication
    and an addition are one)."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(*inputs)
    return int(counter.get_total_flops()) // 2
