"""Processes that train one network together: each takes its share of every batch.

The shares are even and gradients are averaged, so with a loss that does not compare the faces of a
batch two workers of 32 take the step of one of 64. BatchNorm in training uses the statistics of
each worker's own share; the running statistics that are saved are the first worker's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as distributed
from torch import Tensor, nn

from trainer.errors import OptionError
from trainer.objectives.base import Batch


@dataclass(frozen=True)
class DistributedContext:
    """Worker number `rank` of `size`, which computes on `device`."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def is_first(self) -> bool:
        """Whether this worker validates, writes and reports."""
        return self.rank == 0

    def share(self, batch: Batch) -> Batch:
        """Every `size`-th face of a batch, on this worker's device."""
        rows = slice(self.rank, None, self.size)
        parts = (getattr(batch, field.name) for field in dataclasses.fields(Batch))
        return Batch(
            *(None if part is None else part[rows].to(self.device) for part in parts)  # type: ignore[arg-type]
        )

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace the gradients of each worker by their mean over all workers."""
        if self.size == 1:
            return
        # One flat message: a network has some hundred small gradients, and each all-reduce costs a
        # round trip. The mean of the shares' mean losses is the batch's mean loss only because the
        # shares are equal (`loop._check_batches`).
        gradients = [value.grad for value in parameters if value.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        sizes = [gradient.numel() for gradient in gradients]
        parts = torch.split(flat / self.size, sizes)
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def mean(self, value: float) -> float:
        """The mean of a number over the workers."""
        if self.size == 1:
            return value
        number: Tensor = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.all_reduce(number)
        return float(number) / self.size

    def wait(self) -> None:
        """Wait until all workers are here: they can then read what the first one wrote."""
        if self.size > 1:
            distributed.barrier()


def sum_over_workers(*values: Tensor) -> list[Tensor]:
    """The sums over all workers of a distributed run, each (n,) of one size; outside of one the
    values themselves. For objectives, which know no context."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return list(values)
    stacked = torch.stack(values)
    distributed.all_reduce(stacked)
    return list(stacked)


SINGLE_PROCESS = DistributedContext()


def choose_device(gpu: bool) -> str:
    """The device to train on; raises OptionError where a GPU is asked for and none is available."""
    if gpu and not torch.cuda.is_available():
        raise OptionError("no GPU", "--gpu", "leave it out, or install a torch built for your GPU")
    return "cuda" if gpu else "cpu"
