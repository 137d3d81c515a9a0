"""Processes that train one network together: each takes its share of every batch.

The shares are even, gradients are averaged and BatchNorm reads all of a batch
(`trainer.shared_norms`), so with a loss that does not compare the faces of a batch two workers of
32 take the step of one of 64. What they draw at random they draw each for themselves: dropout,
noise, and which faces of its share a worker mixes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.distributed as distributed
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from trainer.errors import OptionError
from trainer.objectives.base import Batch
from trainer.samples import VERSION as SAMPLES_VERSION
from trainer.samples import SampleTable


class Storage(Protocol):
    """A place that all workers reach, for the files of a run directory that they do not share."""

    def push(self) -> None:
        """Copy what is new in the run directory to the place."""

    def pull(self) -> None:
        """Copy what the run directory lacks from the place."""


@dataclass(frozen=True)
class DistributedContext:
    """Worker number `rank` of `size`, which computes on `device`. `storage`: None where the run
    directory is a folder that all workers reach."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"
    storage: Storage | None = None

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
        for value in parameters:
            if value.grad is None:  # this share had no use for it; the message has its place
                value.grad = torch.zeros_like(value)
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

    def save_files(self) -> None:
        """Bring what this worker wrote into the run directory to its storage."""
        if self.storage is not None:
            self.storage.push()

    def share_files(self) -> None:
        """Wait until all workers are here, and have the files that the first one wrote."""
        if self.is_first:
            self.save_files()
        self.wait()
        if self.storage is not None and not self.is_first:
            self.storage.pull()

    def wait(self) -> None:
        """Wait until all workers are here."""
        if self.size > 1:
            distributed.barrier()


def is_distributed() -> bool:
    """Whether this process is one of several that train together."""
    return distributed.is_available() and distributed.is_initialized()


def sum_over_workers(*values: Tensor) -> list[Tensor]:
    """The sums over all workers of a distributed run, each (n,) of one size; outside of one the
    values themselves. For objectives, which know no context."""
    if not is_distributed():
        return list(values)
    stacked = torch.stack(values)
    distributed.all_reduce(stacked)
    return list(stacked)


def update_on_first(update: Callable[[], None], samples: SampleTable) -> None:
    """Run `update`, which changes the table of samples, on the first worker alone; all workers have
    its table afterwards. For objectives, which know no context."""
    if not is_distributed():
        update()
        return
    is_first = distributed.get_rank() == 0
    content = b""
    if is_first:
        update()
        content = to_bytes({name: value.contiguous() for name, value in samples.state().items()})
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    size = torch.tensor([len(content)], device=device)
    distributed.broadcast(size, 0)
    message = torch.zeros(int(size), dtype=torch.uint8, device=device)
    if is_first:
        message.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    distributed.broadcast(message, 0)
    if not is_first:
        state = from_bytes(message.cpu().numpy().tobytes())
        samples.load(state, SAMPLES_VERSION, "the first worker")


SINGLE_PROCESS = DistributedContext()


def choose_device(gpu: bool) -> str:
    """The device to train on; raises OptionError where a GPU is asked for and none is available."""
    if gpu and not torch.cuda.is_available():
        raise OptionError("no GPU", "--gpu", "leave it out, or install a torch built for your GPU")
    return "cuda" if gpu else "cpu"
