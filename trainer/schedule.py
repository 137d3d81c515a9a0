"""What changes over the epochs of a stage: learning rate, resolution, the order of the faces."""

from __future__ import annotations

import math

import torch

from trainer.recipes import Stage
from trainer.samples import SampleTable


def rate(stage: Stage, done: float) -> float:
    """The stage's learning rate after a share `done` (0..1) of its steps."""
    return one_cycle(done, stage.lr) if stage.schedule == "one-cycle" else stage.lr


def drawn_order(samples: SampleTable, balance: float, draws: torch.Generator) -> torch.Tensor:
    """Rows in the order of an epoch, as many as there are faces: each once, or, with `balance`,
    drawn with replacement, a class of n faces by n ** -balance a face (1: all classes alike)."""
    if not balance:
        return torch.randperm(len(samples), generator=draws)
    classes = samples.votes.argmax(dim=1)
    counts = torch.bincount(classes, minlength=samples.votes.shape[1]).double()
    weights = counts.clamp(min=1)[classes] ** -balance
    return torch.multinomial(weights, len(samples), replacement=True, generator=draws)


def one_cycle(done: float, peak: float, warm_up: float = 0.25) -> float:
    """Learning rate after a share `done` (0..1) of the steps: a cosine up, then down to nothing.

    From peak / 25 to `peak` in the first quarter (Smith & Topin 2017, arXiv 1708.07120).
    """
    if done < warm_up:
        rise = (1 - math.cos(math.pi * done / warm_up)) / 2
        return peak / 25 + (peak - peak / 25) * rise
    return peak * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up))) / 2


def resolution_at(stage: Stage, epoch: int) -> int:
    """Pixels that epoch number `epoch` (from 0) is trained at."""
    return [px for share, px in stage.resolution if epoch >= share * stage.epochs][-1]


def is_measured(stage: Stage, epochs_done: int) -> bool:
    """Whether what is held out is asked now: some ten times a stage, its end among them."""
    return (stage.epochs - epochs_done) % max(1, stage.epochs // 10) == 0
