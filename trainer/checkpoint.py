"""A run's state on disk: safetensors for the tensors, JSON for the progress. Atomic, no pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from models.atomic_files import writing
from models.weights import State
from trainer.errors import DataError
from trainer.optimisation import MovingAverage
from trainer.samples import SampleTable

PROGRESS_KEY = "place"
"""Of the progress in a file's metadata."""


@dataclass(frozen=True)
class TrainingProgress:
    """Epochs and steps done, the metrics of each epoch, and the version of the sample table, 0
    where there is none."""

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
    progress: TrainingProgress,
) -> None:
    """Write everything that `load` needs to continue bitwise; a crash leaves the old file."""
    tensors = {f"network/{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"average/{name}": value for name, value in average.state.items()}
    tensors |= {f"samples/{name}": value for name, value in samples.state().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in state.items()}
    tensors = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    # One file, renamed into place when it is complete: tensors of one epoch can never be read with
    # the progress of another. Random states are not in it, since every epoch seeds its own.
    with writing(path) as unfinished:
        metadata = {PROGRESS_KEY: json.dumps(progress.__dict__)}
        unfinished.write_bytes(to_bytes(tensors, metadata=metadata))


@dataclass(frozen=True)
class BestWeights:
    """The averaged weights with the highest score of a stage, in a file of their own; those of
    another run, by its `recipe_hash`, do not count."""

    path: Path
    recipe_hash: str

    def offer(self, state: State, score: float, epochs_done: int) -> None:
        """Write the weights, unless some of an earlier epoch have as high a score."""
        best = self._read()
        # One of this epoch or a later one is of a run that was stopped before its checkpoint.
        if best and best["epoch"] < epochs_done and best["score"] >= score:
            return
        note = {"score": score, "epoch": epochs_done, "recipe_hash": self.recipe_hash}
        tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
        with writing(self.path) as unfinished:
            unfinished.write_bytes(to_bytes(tensors, metadata={PROGRESS_KEY: json.dumps(note)}))

    def load(self, epochs_done: int) -> tuple[State, int] | None:
        """The weights, and after how many epochs they were, at most so many; None without any."""
        best = self._read()
        if not best or best["epoch"] > epochs_done:
            return None
        return load_file(self.path), int(best["epoch"])

    def _read(self) -> dict[str, Any] | None:
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                best: dict[str, Any] = json.loads((file.metadata() or {})[PROGRESS_KEY])
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise DataError("damaged weights", str(self.path), "delete it") from error
        return best if best["recipe_hash"] == self.recipe_hash else None


def read_progress(path: Path) -> TrainingProgress:
    """The progress of a checkpoint; raises DataError for a file that is not one."""
    try:
        with safe_open(path, framework="pt") as file:
            return TrainingProgress(**json.loads((file.metadata() or {})[PROGRESS_KEY]))
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
) -> TrainingProgress:
    """Load a checkpoint's tensors into these objects; returns the run's progress.

    Raises DataError for a checkpoint of another network or of other faces.
    """
    progress = read_progress(path)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    try:
        network.load_state_dict(_select(tensors, "network"))
    except RuntimeError as error:
        what = "a checkpoint of another network, or of an earlier release"
        raise DataError(what, str(path), "train from the start in another directory") from error
    samples.load(_select(tensors, "samples"), progress.samples_version, str(path))
    average.load(_select(tensors, "average"))
    groups = optimizer.state_dict()["param_groups"]
    parameters = [value for group in optimizer.param_groups for value in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _select(tensors, "optimizer").items():
        index, key = name.split("/")
        state.setdefault(int(index), {})[key] = _match_strides(parameters[int(index)], value)
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return progress


def _match_strides(parameter: Tensor, value: Tensor) -> Tensor:
    """The value with its parameter's strides.

    A fused optimiser walks both in memory order, and would pair a channels-last parameter with
    the moments of another one.
    """
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, requires_grad=False).copy_(value)


def _select(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix + "/"): value
        for name, value in tensors.items()
        if name.startswith(prefix + "/")
    }
