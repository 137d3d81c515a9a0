"""A run's state on disk: safetensors for the numbers, JSON for the place. Atomic, never pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from models.atomic_files import writing
from trainer.ema import MovingAverage
from trainer.errors import DataError
from trainer.samples import SampleTable


@dataclass(frozen=True)
class Place:
    """Where a run stands: epochs and steps done, what each epoch measured, and the version of its
    table of samples, 0 where it has none."""

    stage: str
    epochs_done: int
    steps_done: int
    history: list[dict[str, Any]]
    recipe_hash: str
    samples_version: int = 0


def save(
    path: Path,
    network: torch.nn.Module,
    average: MovingAverage,
    optimizer: torch.optim.Optimizer,
    samples: SampleTable,
    place: Place,
) -> None:
    """Write everything that `load` needs to go on bitwise; a crash leaves the old file."""
    tensors = {f"network/{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"average/{name}": value for name, value in average.state.items()}
    tensors |= {f"samples/{name}": value for name, value in samples.state().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in state.items()}
    tensors = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    with writing(path) as unfinished:
        unfinished.write_bytes(to_bytes(tensors, metadata={"place": json.dumps(place.__dict__)}))


def read_place(path: Path) -> Place:
    """Where the run of a checkpoint stands; raises DataError for anything but a checkpoint."""
    try:
        with safe_open(path, framework="pt") as file:
            return Place(**json.loads((file.metadata() or {})["place"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            "damaged checkpoint", str(path), "delete it to train from the start"
        ) from error


def load(
    path: Path,
    network: torch.nn.Module,
    average: MovingAverage,
    optimizer: torch.optim.Optimizer,
    samples: SampleTable,
) -> Place:
    """Put a checkpoint's numbers into place and say where the run stands.

    Raises DataError for one that does not fit: of another network, or of other faces.
    """
    place = read_place(path)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    try:
        network.load_state_dict(_under(tensors, "network"))
    except RuntimeError as error:
        what = "a checkpoint of another network, or of an earlier release"
        raise DataError(what, str(path), "train from the start in another directory") from error
    samples.load(_under(tensors, "samples"), place.samples_version, str(path))
    average.load(_under(tensors, "average"))
    groups = optimizer.state_dict()["param_groups"]
    parameters = [value for group in optimizer.param_groups for value in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _under(tensors, "optimizer").items():
        index, key = name.split("/")
        state.setdefault(int(index), {})[key] = _laid_out_as(parameters[int(index)], value)
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return place


def _laid_out_as(parameter: Tensor, value: Tensor) -> Tensor:
    """The value with its parameter's strides: a fused optimiser walks both in memory order, and
    would pair a channels-last parameter with another one's moments."""
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, requires_grad=False).copy_(value)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix + "/"): value
        for name, value in tensors.items()
        if name.startswith(prefix + "/")
    }
