"""How a stage is optimised: learning rates, resolution, the sampler's order, averaged weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainer.recipes import Stage
from trainer.samples import SampleTable

WARM_UP = 0.25
"""Share of the steps in which a one-cycle schedule rises."""
VALIDATIONS = 10
"""About how often a stage is evaluated on the validation split."""


class MovingAverage:
    """An exponential moving average (EMA) of a network: what is validated and shipped.

    `state` holds the averages of all parameters and floating-point buffers over the steps; integer
    buffers (counters) are copied.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Add the network after step number `step` (from 0)."""
        # At a constant decay of 0.998 the random initial weights would still make up 13 % of the
        # average after 1000 steps; with this ramp less than a millionth after 40.
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)

    def load(self, state: dict[str, Tensor]) -> None:
        """Continue from a stored average."""
        for name, value in state.items():
            self.state[name].copy_(value)


def learning_rate(stage: Stage, progress: float) -> float:
    """The stage's learning rate after a share `progress` (0..1) of its steps."""
    return one_cycle(progress, stage.lr) if stage.schedule == "one-cycle" else stage.lr


def one_cycle(progress: float, peak: float, warm_up: float = WARM_UP) -> float:
    """Learning rate after a share `progress` (0..1) of the steps: a cosine up, then down to zero.

    From peak / 25 to `peak` in the first quarter (Smith & Topin 2017, arXiv 1708.07120).
    """
    # A function of the progress alone, not a stateful scheduler: a resumed run needs no more than
    # its number of steps to be at the same rate, bit for bit.
    if progress < warm_up:
        rise = (1 - math.cos(math.pi * progress / warm_up)) / 2
        return peak / 25 + (peak - peak / 25) * rise
    return peak * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up))) / 2


def group_parameters(
    network: nn.Module, parameters: Sequence[nn.Parameter], stage: Stage
) -> list[dict[str, Any]]:
    """The stage's parameters as an optimiser's groups, by the `scale` of their learning rate."""
    names = {id(value): name for name, value in network.named_parameters()}
    groups: dict[float, list[nn.Parameter]] = {}
    for value in parameters:
        name = names[id(value)]
        scale = next((s for part, s in stage.lr_scale if name.startswith(f"{part}.")), 1.0)
        groups.setdefault(scale, []).append(value)
    return [{"params": values, "scale": scale} for scale, values in groups.items()]


def sample_order(samples: SampleTable, balance: float, generator: torch.Generator) -> Tensor:
    """Rows (n,) in the order of an epoch, as many as there are faces.

    Each face once, or, with `balance`, sampled with replacement: a face of a class of n faces has
    the weight n ** -balance (1: all classes equally often).
    """
    if not balance:
        return torch.randperm(len(samples), generator=generator)
    # By the votes, which never change: targets are relabelled while training runs, and the classes
    # of an epoch would then depend on what the network predicted in the one before.
    classes = samples.votes.argmax(dim=1)
    counts = torch.bincount(classes, minlength=samples.votes.shape[1]).double()
    weights = counts.clamp(min=1)[classes] ** -balance
    return torch.multinomial(weights, len(samples), replacement=True, generator=generator)


def resolution_at(stage: Stage, epoch: int) -> int:
    """Pixels per side of the inputs in epoch number `epoch` (from 0)."""
    return [px for share, px in stage.resolution if epoch >= share * stage.epochs][-1]


def is_validation_due(stage: Stage, epochs_done: int) -> bool:
    """Whether the validation split is evaluated after this epoch; always after the last one."""
    return (stage.epochs - epochs_done) % max(1, stage.epochs // VALIDATIONS) == 0
