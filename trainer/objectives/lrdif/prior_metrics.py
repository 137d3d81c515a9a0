"""How much of a prior Z is restored, in a number that a constant guess cannot flatter.

R^2 is not one: with Z of unit variance in each vector, as LRDif's norm makes it, a guess with a
cosine of 0.60 has an R^2 near 0 and looks like nothing, while the batch's mean has 0 as well.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def cosine(z: Tensor, target: Tensor) -> Tensor:
    """Mean cosine of each z with its target, both (n, C): 1 the same direction."""
    return functional.cosine_similarity(z, target, dim=1).mean()


def partial_cosine(z: Tensor, target: Tensor, classes: Tensor) -> Tensor:
    """The same once the mean target of each face's class is subtracted from both: what Z says
    beyond the label, 0 where it says nothing.

    classes (n,) int64. A face that is alone in its class has no target left and does not count; NaN
    where no face counts.
    """
    k = int(classes.max()) + 1
    one_hot = functional.one_hot(classes, k).to(target.dtype)
    faces = one_hot.sum(dim=0)
    means = (one_hot.T @ target) / faces.clamp(min=1)[:, None]
    counted = faces[classes] > 1
    left, aimed = (values[counted] - means[classes[counted]] for values in (z, target))
    return functional.cosine_similarity(left, aimed, dim=1).mean()


def mean_of(values: list[Tensor]) -> float:
    """The mean of some batches, those without a value left out; rounded."""
    return round(float(torch.stack(values).nanmean()), 5)
