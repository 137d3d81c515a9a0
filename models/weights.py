"""Weights with their card in one safetensors file. Never pickle.

The card (`models.card`) is JSON under `undercam.card` in the file's metadata. Floating tensors are
stored as float16.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from models.atomic_files import writing
from models.card import ModelCard as ModelCard
from models.card import NewerVersionError
from models.card_json import shorten
from models.errors import ModelError

CARD_KEY = "undercam.card"
State = dict[str, Tensor]


def save(path: str | Path, card: ModelCard, state: State) -> None:
    """Write weights and card, floats as float16, so that a reader sees all of it or nothing.

    Raises ModelError where a weight is not a number that float16 can hold, and UndercamError where
    nothing can be written.
    """
    tensors = to_stored(state)
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ModelError(f"not a number of float16 in {name}", str(path), "train it again")
    path = Path(path)
    with writing(path) as unfinished:
        unfinished.write_bytes(to_bytes(tensors, metadata={CARD_KEY: card.to_json()}))


def to_stored(state: State) -> State:
    """The tensors as a file holds them: floats as float16, on the CPU."""
    return {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous().cpu()
        for name, tensor in state.items()
    }


def read_card(path: str | Path) -> ModelCard:
    """The card of a weights file; raises ModelError for anything but our safetensors."""
    with _open(Path(path)) as file:
        metadata = file.metadata() or {}
    if CARD_KEY not in metadata:
        raise ModelError(
            "weights without a card", str(path), "use weights written by `undercam train`"
        )
    try:
        return ModelCard.from_json(metadata[CARD_KEY])
    except NewerVersionError as error:
        raise ModelError(str(error), str(path), error.remedy) from error
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"unreadable card ({shorten(str(error))})",
            str(path),
            "train the weights again with this version",
        ) from error


def read_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a weights file, none of them read."""
    with _open(Path(path)) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def read_state(path: str | Path) -> State:
    """All tensors of a weights file, floats as float32 on the CPU."""
    with _open(Path(path)) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }


def restore(network: torch.nn.Module, state: State, path: str | Path) -> None:
    """Load a state into a network; raises ModelError when names or shapes do not fit."""
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise mismatch_error(network, path) from error


def mismatch_error(network: torch.nn.Module, path: str | Path) -> ModelError:
    """The error for a file whose tensors are not this network's."""
    remedy = f"its tensors do not fit {type(network).__name__}; train or fetch them again"
    return ModelError("weights of another network", str(path), remedy)


def _open(path: Path) -> Any:
    if not path.is_file():
        raise ModelError("no such weights", str(path), "give a name in models/zoo or a file")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ModelError(
            "damaged weights or not safetensors", str(path), "fetch or train them again"
        ) from error
