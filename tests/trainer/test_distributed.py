"""Workers that share a batch take the step of one that has it all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as distributed
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from trainer.data.faceset import FaceSet
from trainer.distributed import (
    SINGLE_PROCESS,
    DistributedContext,
    choose_device,
    sum_over_workers,
)
from trainer.errors import DataError
from trainer.loop import train
from trainer.objectives.base import Batch
from trainer.recipes import Recipe


def batch_of(n: int = 64) -> Batch:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n, 1, 8, 8, generator=generator)
    targets = torch.softmax(torch.randn(n, 8, generator=generator), dim=1)
    return Batch(x, targets, torch.zeros(n, 2, 3), torch.arange(n))


def network() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.GroupNorm(2, 8), nn.Flatten(), nn.Linear(288, 8))


def gradients(context: DistributedContext) -> list[torch.Tensor]:
    ours, batch = network(), context.share(batch_of())
    functional.cross_entropy(ours(batch.x), batch.targets).backward()
    context.average_gradients(list(ours.parameters()))
    return [value.grad for value in ours.parameters() if value.grad is not None]


def work(rank: int, folder: str) -> None:
    """One worker: this file, run as a program."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    context = DistributedContext(rank, 2)
    found = gradients(context)
    mean = context.mean(float(rank))
    sums = sum_over_workers(torch.arange(3.0) + rank, torch.ones(3))
    context.wait()
    tensors = {str(number): value for number, value in enumerate(found)}
    tensors |= {"mean": torch.tensor(mean), "sums": torch.stack(sums)}
    save_file(tensors, f"{folder}/{rank}.safetensors")
    distributed.destroy_process_group()


def test_two_of_32_take_the_step_of_one_of_64(tmp_path: Path) -> None:
    command = [sys.executable, __file__, str(tmp_path)]
    workers = [subprocess.Popen([*command, str(rank)]) for rank in range(2)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    wanted = gradients(SINGLE_PROCESS)
    for rank in range(2):
        found = load_file(tmp_path / f"{rank}.safetensors")
        assert found.pop("mean") == 0.5
        assert found.pop("sums").tolist() == [[1, 3, 5], [2, 2, 2]]
        assert len(found) == len(wanted)
        for number, ours in enumerate(wanted):
            torch.testing.assert_close(found[str(number)], ours, rtol=1e-5, atol=1e-6)


def test_one_worker_sums_nothing() -> None:
    values = torch.arange(3.0), torch.ones(3)
    assert all(map(torch.equal, sum_over_workers(*values), values))


def test_shares_are_even_and_leave_no_face_out() -> None:
    batch = batch_of(12)
    shares = [DistributedContext(rank, 3).share(batch).rows for rank in range(3)]
    assert [len(rows) for rows in shares] == [4, 4, 4]
    assert sorted(torch.cat(shares).tolist()) == list(range(12))


def test_a_batch_that_cannot_be_shared_evenly(
    make_recipe: Callable[..., Recipe],
    tiny_card: object,
    make_faces: Callable[..., FaceSet],
    tmp_path: Path,
) -> None:
    with pytest.raises(DataError, match="batches of 16: 3 workers: give a divisor"):
        train(
            make_recipe(), tiny_card, make_faces(), None, 0, tmp_path,  # type: ignore[arg-type]
            context=DistributedContext(0, 3),
        )  # fmt: skip


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(False) == "cpu"
    with pytest.raises(DataError, match="no GPU: --gpu: leave it out"):
        choose_device(True)


if __name__ == "__main__":
    work(int(sys.argv[2]), sys.argv[1])
