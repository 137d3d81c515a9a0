"""Margin-based discrepancy training, and AMDiT, which adapts the margin to each sample.

The hinge enforces a minimum margin between the noise-prediction errors under wrong categorical
descriptions and under the right one. The abstract of EmoDC gives neither formula nor numbers: the
rules below are ours, after diffusion-itm (Krojer et al. 2023, arXiv 2305.16397), whose loss is the
hinge with a margin relative to the right error.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

RULES = ("fixed", "a1", "a2", "a3", "a4")
DIFFICULTIES = ("draw", "image")
MARGIN_BINS = 32
"""Parts of the noise levels with statistics of their own."""
QUANTILE = 0.75
RATE = 0.02
"""Share of a batch in the running statistics."""


@dataclass(frozen=True)
class MarginRule:
    """How wide the margin of a sample is; all of them in `least`..`most`, gradients reach none.

    `fixed`: `gamma` for all, which an easy image and a hard one miss alike (MDT).
    `a1`: gamma g(t) e_y, relative to the sample's own error: AMDiT as we read it, with g = 1.
    `a2`: gamma g(t) e_0, relative to the error under no description.
    `a3`: gamma G(t), the control that varies with the timestep alone.
    `a4`: gamma g(t) ebar(t) d^p, with d = e_0 / ebar(t) the difficulty of the image: with a
    `power` p of 1 a hard image gets the wide margin, and it is a2; with -1 the narrow one. One
    `draw` of d is noisy; `difficulty` of `image` is its running mean over the image's visits, at
    all noise levels (`SampleTable.difficulty`).
    g(t), G(t) and ebar(t) are `MarginStatistics`; without `measured` g is 1. `permuted`: each
    sample has the margin of another one of its timestep, the control for what "per sample" adds.
    `detached`: the hinge moves the wrong errors alone. `weight` is that of the hinge.
    """

    rule: str
    gamma: float
    power: int = 1
    measured: bool = False
    permuted: bool = False
    detached: bool = False
    weight: float = 1.0
    least: float = 1e-5
    most: float = 1.0
    difficulty: str = "draw"

    def __post_init__(self) -> None:
        if self.rule not in RULES or self.gamma <= 0 or self.weight <= 0:
            what = f"rule {self.rule!r} with gamma {self.gamma} and weight {self.weight}"
            raise ValueError(f"{what}: give one of {', '.join(RULES)}, and numbers above 0")
        if self.difficulty not in DIFFICULTIES[: 1 + (self.rule == "a4")]:
            what = f"difficulty {self.difficulty!r} of {self.rule}"
            raise ValueError(f"{what}: give draw, or of a4 also image")


class MarginStatistics(nn.Module):
    """Of the Base model, by `bin` of the noise level, each (MARGIN_BINS,): `ratio` g, a quantile of
    (e_k - e_y) / e_y over the wrong emotions, `gap` G, that of e_k - e_y, and `empty` ebar, the
    mean of e_0, the error under no description."""

    ratio: Tensor
    gap: Tensor
    empty: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("ratio", "gap", "empty"):
            self.register_buffer(name, torch.ones(MARGIN_BINS))
        self.register_buffer("count", torch.zeros(MARGIN_BINS, dtype=torch.long))

    @torch.no_grad()
    def update(self, errors: Tensor, right: Tensor, is_wrong: Tensor, empty: Tensor,
               bins: Tensor) -> None:  # fmt: skip
        """Add a batch: errors (n, K), the right one (n,), which of the K are wrong (n, K), the
        error under no description (n,), bins (n,)."""
        for number in bins.unique(sorted=True).tolist():  # type: ignore[no-untyped-call]
            rows = bins == number
            gaps = (errors - right[:, None])[rows]
            chosen = is_wrong[rows]
            found = {
                "ratio": (gaps / right[rows, None])[chosen].quantile(QUANTILE),
                "gap": gaps[chosen].quantile(QUANTILE),
                "empty": empty[rows].mean(),
            }
            rate = RATE if self.count[number] else 1.0
            for name, value in found.items():
                getattr(self, name)[number].lerp_(value.to(self.ratio), rate)
            self.count[number] += 1

    def difficulties(self, empty: Tensor, bins: Tensor) -> Tensor:
        """How hard each noise was to predict under no description, (n,): 1 for the mean of its
        noise level."""
        return empty / self.empty[bins]


def margins(
    rule: MarginRule,
    right: Tensor,
    empty: Tensor,
    bins: Tensor,
    statistics: MarginStatistics,
    difficulty: Tensor | None = None,
) -> Tensor:
    """The margin (n,) of each sample from its right error and that under no description, (n,)
    each, and its bin (n,); without gradients. `difficulty` (n,) of the images, for rules with it;
    NaN, or none at all: one draw."""
    right, empty = right.detach(), empty.detach()
    g = statistics.ratio[bins] if rule.measured else torch.ones_like(right)
    mean = statistics.empty[bins]
    if rule.rule == "fixed":
        margin = torch.ones_like(right)
    elif rule.rule == "a1":
        margin = g * right
    elif rule.rule == "a2":
        margin = g * empty
    elif rule.rule == "a3":
        margin = statistics.gap[bins]
    else:
        drawn = statistics.difficulties(empty, bins)
        if rule.difficulty == "image" and difficulty is not None:
            drawn = torch.where(difficulty.isnan(), drawn, difficulty)
        margin = g * mean * drawn**rule.power
    if rule.permuted:
        margin = permute_within(margin, bins)
    return (rule.gamma * margin).clamp(rule.least, rule.most)


def permute_within(values: Tensor, bins: Tensor) -> Tensor:
    """Values (n,) in a random order among the samples of each bin (n,)."""
    by_bin = bins.argsort(stable=True)
    order = torch.randperm(len(bins), device=bins.device)
    shuffled = order[bins[order].argsort(stable=True)]
    permuted = torch.empty_like(values)
    permuted[by_bin] = values[shuffled]
    return permuted


def discrepancy(
    errors: Tensor, right: Tensor, is_wrong: Tensor, margin: Tensor, rule: MarginRule
) -> tuple[Tensor, Tensor]:
    """e_y + weight / |N| sum over N of [m + e_y - e_k]_+ of each sample (n,), N its wrong emotions,
    and where the hinge is active, (n, K) bool.

    errors (n, K) under each emotion, right (n,) the error e_y, is_wrong (n, K), margin (n,). With
    `detached` no gradient of the hinge reaches e_y.
    """
    pulled = right.detach() if rule.detached else right
    hinge = (margin + pulled)[:, None] - errors
    is_active = (hinge > 0) & is_wrong
    hinges = (hinge.clamp(min=0) * is_wrong).sum(dim=1) / is_wrong.sum(dim=1)
    return right + rule.weight * hinges, is_active
