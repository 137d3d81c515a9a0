"""A checkpoint holds everything, and is there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from models.emotions import EMOTIONS
from models.errors import UndercamError
from tests.disk import full_disk
from trainer import checkpoint
from trainer.checkpoint import TrainingProgress
from trainer.data.faceset import FaceSet
from trainer.errors import DataError
from trainer.optimisation import MovingAverage
from trainer.samples import VERSION, SampleTable

HISTORY = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]
PLACE = TrainingProgress("fit", 2, 34, HISTORY, "abc", VERSION)
Parts = tuple[nn.Module, MovingAverage, torch.optim.Optimizer, SampleTable]


def parts(seed: int, steps: int = 0) -> Parts:
    """A small network, its average and optimiser after some steps."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = MovingAverage(network, 0.9)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, fused=True)
    faces = FaceSet.of_labels(
        "made", EMOTIONS, np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 2, 3])
    )
    samples = SampleTable.of(faces)
    samples.relabel(torch.arange(steps), torch.full((steps,), 5))
    go_on((network, average, optimizer, samples), steps)
    return network, average, optimizer, samples


def go_on(trained: Parts, steps: int) -> None:
    network, average, optimizer, _ = trained
    for step in range(steps):
        optimizer.zero_grad()
        network(torch.arange(400.0).view(2, 8, 5, 5).cos() + step).square().sum().backward()
        optimizer.step()
        average.update(network, step)


def test_all_comes_back_and_goes_on_alike(tmp_path: Path) -> None:
    first, second = parts(seed=1, steps=3), parts(seed=2)
    path = tmp_path / "runs" / "fit.safetensors"
    checkpoint.save(path, *first, PLACE)
    assert checkpoint.read_progress(path) == PLACE
    assert checkpoint.load(path, *second) == PLACE
    for trained in (first, second):
        go_on(trained, 2)
    for name, value in first[0].state_dict().items():
        assert torch.equal(second[0].state_dict()[name], value)
        assert torch.equal(second[1].state[name], first[1].state[name])
    assert torch.equal(second[3].targets, first[3].targets)
    assert [p.name for p in path.parent.iterdir()] == ["fit.safetensors"]


def test_a_full_disk_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "fit.safetensors"
    checkpoint.save(path, *parts(1), PLACE)
    old = path.read_bytes()
    with full_disk(50), pytest.raises(UndercamError, match="cannot write"):
        checkpoint.save(path, *parts(2, steps=2), PLACE)
    assert path.read_bytes() == old
    assert checkpoint.load(path, *parts(3)) == PLACE


@pytest.mark.parametrize(
    "metadata", [None, {"other": "x"}, {"place": "{"}, {"place": '{"stage": "fit"}'}]
)
def test_another_safetensors_file(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / "c", metadata=metadata)
    with pytest.raises(DataError, match="damaged checkpoint: .*: delete it"):
        checkpoint.read_progress(tmp_path / "c")
