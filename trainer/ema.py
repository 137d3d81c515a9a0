"""An exponential moving average of a network: what is evaluated and shipped."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MovingAverage:
    """Holds `state`, the average of a network's parameters and buffers over its steps.

    The decay warms up as (1 + step) / (10 + step), so that the first steps are soon forgotten.
    Integer buffers (counters) are copied.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the network after step number `step` (from 0)."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a stored average."""
        for name, value in state.items():
            self.state[name].copy_(value)
