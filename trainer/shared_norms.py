"""BatchNorm over the whole batch of a distributed run, not over each worker's share.

With it two workers of 32 take the step of one of 64, and all of them keep the same running
statistics. (`torch.nn.SyncBatchNorm` is for GPUs alone.)
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor, nn


class SharedBatchNorm2d(nn.BatchNorm2d):
    """In training, normalises by the statistics of all workers' faces."""

    def forward(self, input: Tensor) -> Tensor:
        """(n, C, h, w) -> the same shape."""
        return _normalise(self, input) if self.training else super().forward(input)


class SharedBatchNorm1d(nn.BatchNorm1d):
    """In training, normalises by the statistics of all workers' faces."""

    def forward(self, input: Tensor) -> Tensor:
        """(n, C) -> the same shape."""
        return _normalise(self, input) if self.training else super().forward(input)


SHARED: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: SharedBatchNorm1d,
    nn.BatchNorm2d: SharedBatchNorm2d,
}


def share_norms(network: nn.Module) -> None:
    """Make every BatchNorm of a network a shared one, with the parameters that it has."""
    for part in network.modules():
        if type(part) in SHARED:
            part.__class__ = SHARED[type(part)]


def _normalise(norm: Any, x: Tensor) -> Tensor:
    # In float32 under autocast, as torch's own.
    wide = x if x.dtype == torch.float64 else x.float()
    values, mean, variance, count = _Normalise.apply(wide, norm.eps)  # type: ignore[no-untyped-call]
    if norm.track_running_stats and norm.running_mean is not None:
        norm.num_batches_tracked.add_(1)
        unbiased = variance * (count / (count - 1).clamp(min=1))
        norm.running_mean.lerp_(mean.to(norm.running_mean), norm.momentum)
        norm.running_var.lerp_(unbiased.to(norm.running_var), norm.momentum)
    shape = (1, -1) + (1,) * (x.dim() - 2)
    scaled: Tensor = values * norm.weight.view(shape) + norm.bias.view(shape)
    return scaled.to(x.dtype)


class _Normalise(torch.autograd.Function):
    """x (n, C, ...) -> (x - mean) / sqrt(variance + eps), mean (C,), variance (C,), count (1,)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        axes = [axis for axis in range(x.dim()) if axis != 1]
        count = x.new_full((1,), x.numel() / x.shape[1])
        own = x.mean(dim=axes)
        spread = (x - _spread(own, x)).square().sum(dim=axes)
        # Means and sums of squares about them, not sums of x and x^2, whose difference has few
        # digits left where the mean is far from zero (Chan et al. 1983).
        parts = _collect(torch.cat([count, own, spread]))
        counts, means, spreads = torch.split(parts, [1, x.shape[1], x.shape[1]], dim=1)
        total = counts.sum(dim=0)
        mean = (counts * means).sum(dim=0) / total
        variance = (spreads + counts * (means - mean).square()).sum(dim=0) / total
        scale = (variance + eps).rsqrt()
        values = (x - _spread(mean, x)) * _spread(scale, x)
        ctx.save_for_backward(values, scale, total)
        ctx.mark_non_differentiable(mean, variance, total)
        return values, mean, variance, total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        values, scale, total = ctx.saved_tensors
        gradient: Tensor = gradients[0]
        axes = [axis for axis in range(gradient.dim()) if axis != 1]
        sums = torch.cat([gradient.sum(dim=axes), (gradient * values).sum(dim=axes)])
        distributed.all_reduce(sums)
        first, second = (_spread(part, gradient) for part in (sums / total).chunk(2))
        return (gradient - first - values * second) * _spread(scale, gradient), None


def _spread(values: Tensor, like: Tensor) -> Tensor:
    """(C,) -> (1, C, 1, ...), as many axes as `like` has."""
    return values.view(1, -1, *(1,) * (like.dim() - 2))


def _collect(values: Tensor) -> Tensor:
    """(m,) of each worker -> (workers, m)."""
    found = [torch.empty_like(values) for _ in range(distributed.get_world_size())]
    distributed.all_gather(found, values)
    return torch.stack(found)
