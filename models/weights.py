"""Weights with their card: one safetensors file that says itself what it is. Never pickle.

The card is JSON under `undercam.card` in the file's metadata. Floating tensors are stored as
float16.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.errors import ModelError

CARD_KEY = "undercam.card"
State = dict[str, Tensor]


@dataclass(frozen=True)
class ModelCard:
    """What a network is, what it was fed with, and what was measured of it.

    `model` names the class (see `models.loading`), `network` its keyword arguments; `input_px` and
    `channels` its input, normalised as (x - mean) / std with x in 0..1; `temperature` divides the
    logits; `metrics` holds what was measured, each with its data and protocol in the key or value.
    """

    name: str
    model: str
    network: dict[str, Any]
    labels: tuple[str, ...]
    input_px: int
    channels: int
    mean: float
    std: float
    crop: str
    data: str
    data_terms: str
    recipe: dict[str, Any] = field(default_factory=dict)
    temperature: float = 1.0
    metrics: dict[str, Any] = field(default_factory=dict)
    git: str = ""
    version: int = 1

    def to_json(self) -> str:
        """The card as one line of JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read a card back; raises ValueError or TypeError when a field is missing or unknown."""
        fields = json.loads(text)
        fields["labels"] = tuple(fields["labels"])
        card = cls(**fields)
        if card.version != 1:
            raise ValueError(f"card version {card.version}, this code reads 1")
        return card


def save(path: str | Path, card: ModelCard, state: State) -> None:
    """Write weights and card, floats as float16, so that a reader sees all of it or nothing."""
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous().cpu()
        for name, tensor in state.items()
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    save_file(tensors, unfinished, metadata={CARD_KEY: card.to_json()})
    unfinished.replace(path)


def read_card(path: str | Path) -> ModelCard:
    """The card of a weights file; raises ModelError for anything but our safetensors."""
    with _opened(Path(path)) as file:
        metadata = file.metadata() or {}
    if CARD_KEY not in metadata:
        raise ModelError(
            "weights without a card", str(path), "use weights written by `undercam train`"
        )
    try:
        return ModelCard.from_json(metadata[CARD_KEY])
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"unreadable card ({error})", str(path), "train the weights again with this version"
        ) from error


def read_state(path: str | Path) -> State:
    """All tensors of a weights file, floats as float32 on the CPU."""
    with _opened(Path(path)) as file:
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
        raise ModelError(
            "weights of another network",
            str(path),
            f"its tensors do not fit {type(network).__name__}; train or fetch them again",
        ) from error


def _opened(path: Path) -> Any:
    if not path.is_file():
        raise ModelError("no such weights", str(path), "give a name in models/zoo or a file")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ModelError(
            "damaged weights or not safetensors", str(path), "fetch or train them again"
        ) from error
