"""Distribution contrastive learning (DCL): a clean face must fit the distribution of its class.

The poster: "when adding P into the embedding distribution of its true class, the shifts of (mu,
sigma) should be minimal". Mean and standard deviation of a class are those of its clean faces in
the epoch before, and do not change within an epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.distributed import sum_over_workers

LEAST_VARIANCE = 0.1
"""Of a coordinate, as a share of the mean over all: the loss divides by it."""
NOTHING = 1e-8
"""Added, where all faces of a class are one point; coordinates of unit vectors have about 1 / d."""


@dataclass(frozen=True)
class ClassMemory:
    """Of each of K classes: how many faces, (K,); mean and variance of their embeddings, (K, d)."""

    count: Tensor
    mean: Tensor
    variance: Tensor

    def of(self, classes: Tensor) -> ClassMemory:
        """Those of faces of these classes, (n,): (n, 1), (n, d) and (n, d)."""
        return ClassMemory(self.count[classes, None], self.mean[classes], self.variance[classes])


class MemoryBuilder:
    """The sums over an epoch's clean faces that a memory is made from, in float64."""

    def __init__(self) -> None:
        self._sums: tuple[Tensor, Tensor, Tensor] | None = None

    def add(self, embeddings: Tensor, classes: Tensor, count: int) -> None:
        """Add embeddings (n, d) of faces of these of `count` classes (n,)."""
        v = embeddings.detach().double()
        if self._sums is None:
            empty = v.new_zeros(count, v.shape[1])
            self._sums = v.new_zeros(count), empty, empty.clone()
        of_class = torch.nn.functional.one_hot(classes, count).double()
        for total, values in zip(self._sums, (of_class, v, v.square()), strict=True):
            total += values.sum(dim=0) if values is of_class else of_class.T @ values

    def state(self) -> dict[str, Tensor]:
        """`count`, `mean` and `variance` of the classes, float32 on the CPU; {} without a face. In
        a distributed run every worker calls it, and gets those of all faces."""
        if self._sums is None:
            return {}
        shapes = [total.shape for total in self._sums]
        (flat,) = sum_over_workers(torch.cat([total.flatten() for total in self._sums]))
        parts = torch.split(flat.cpu(), [shape.numel() for shape in shapes])
        count, first, second = (part.view(s) for part, s in zip(parts, shapes, strict=True))
        faces = count.clamp(min=1)[:, None]
        mean = first / faces
        variance = floor_variance((second / faces - mean.square()).clamp(min=0))
        names = ("count", "mean", "variance")
        values = (count, mean, variance)
        return {name: value.float() for name, value in zip(names, values, strict=True)}


def read_memory(state: Mapping[str, Tensor], prefix: str, device: torch.device) -> ClassMemory:
    """The memory that was kept under names with this prefix."""
    count, mean, variance = (
        state[f"{prefix}{name}"].to(device) for name in ("count", "mean", "variance")
    )
    return ClassMemory(count, mean, variance)


def floor_variance(variance: Tensor) -> Tensor:
    """Variances (..., d), each at least LEAST_VARIANCE of their mean, and never 0."""
    return torch.maximum(variance, LEAST_VARIANCE * variance.mean(dim=-1, keepdim=True)) + NOTHING


def shift_by_one(points: Tensor, classes: Tensor, memory: ClassMemory) -> Tensor:
    """By how much each face alone shifts its class: (N + 1)^2 mean_d[(mu' - mu)^2 + (sigma' -
    sigma)^2] of points (n, d) -> (n,). As N grows it is mean_d[(x + sigma^2)^2 / (4 sigma^2)] with
    x = (P - mu)^2: at P = mu it is least, and not zero.
    """
    own = memory.of(classes)
    x, n, variance = (points - own.mean).square(), own.count, own.variance
    shared = n / (n + 1)
    # (N + 1)(sigma' - sigma) by way of the variances: the difference of two nearly equal roots
    # would leave no digit in float32.
    grown = shared * x - variance
    both = (shared * (variance + x / (n + 1))).sqrt() + variance.sqrt()
    return (x + (grown / both).square()).mean(dim=1)


def shift_by_batch(points: Tensor, classes: Tensor, memory: ClassMemory) -> Tensor:
    """By how much all faces of a class in the batch shift it together, ((N + n) / n)^2 times the
    squares, at each of its faces: (n,). Zero for the pair mu +- sigma; it falls as 1 / n."""
    one_hot = torch.nn.functional.one_hot(classes, len(memory.count)).to(points.dtype)
    n = one_hot.sum(dim=0)[classes, None]
    mean = (one_hot.T @ points)[classes] / n
    spread = (one_hot.T @ (points - mean).square())[classes] / n
    own = memory.of(classes)
    x, shared = (mean - own.mean).square(), own.count / (own.count + n)
    grown = spread - own.variance + shared * x
    both = (own.variance + (1 - shared) * grown).sqrt() + own.variance.sqrt()
    return (x + (grown / both).square()).mean(dim=1)


def distance_to_centre(points: Tensor, classes: Tensor, memory: ClassMemory) -> Tensor:
    """Squared distance to the mean of the class, over d: the centre loss (Wen et al. 2016)."""
    return (points - memory.of(classes).mean).square().mean(dim=1)


Form = Callable[[Tensor, Tensor, ClassMemory], Tensor]
FORMS: dict[str, Form] = {
    "single": shift_by_one,
    "batch": shift_by_batch,
    "centre": distance_to_centre,
}
"""By the name of the setting `dcl`: the poster's, and two ablations."""
