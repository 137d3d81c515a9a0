"""Weights with their card: one safetensors file that says itself what it is. Never pickle.

The card is JSON under `undercam.card` in the file's metadata. Floating tensors are stored as
float16.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from models.errors import ModelError
from models.writing import writing

CARD_KEY = "undercam.card"
VERSION = 1
State = dict[str, Tensor]


@dataclass(frozen=True)
class ModelCard:
    """What a network is, what it was fed with, and what was measured of it.

    `model` names the class (see `models.loading`), `network` its keyword arguments; `input_px` and
    `channels` (1 or 3) its input, normalised as (x - mean) / std with x in 0..1; `crop` the
    geometry of the crops (see `models.crops`); `temperature` divides the logits; `metrics` holds
    what was measured, each with its data and protocol in the key or value.

    Raises ValueError for a number that no network can be asked with.
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
    version: int = VERSION

    def __post_init__(self) -> None:
        for name, right in (
            ("labels", len(self.labels) > 1 and len(set(self.labels)) == len(self.labels)),
            ("input_px", self.input_px >= 1),
            ("channels", self.channels in (1, 3)),
            ("mean", math.isfinite(self.mean)),
            ("std", 0 < self.std < math.inf),
            ("temperature", 0 < self.temperature < math.inf),
        ):
            if not right:
                raise ValueError(f"{name} {getattr(self, name)!r}")

    def to_json(self) -> str:
        """The card as one line of JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read a card back; raises ValueError, TypeError or KeyError for anything but a card."""
        fields = json.loads(text)
        if fields["version"] != VERSION:
            raise ValueError(f"version {fields['version']}, this code reads {VERSION}")
        return cls(**fields | {"labels": tuple(fields["labels"])})


def save(path: str | Path, card: ModelCard, state: State) -> None:
    """Write weights and card, floats as float16, so that a reader sees all of it or nothing.

    Raises ModelError where a weight is not a number that float16 can hold, and UndercamError where
    nothing can be written.
    """
    tensors = as_stored(state)
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ModelError(f"not a number of float16 in {name}", str(path), "train it again")
    path = Path(path)
    with writing(path) as unfinished:
        unfinished.write_bytes(to_bytes(tensors, metadata={CARD_KEY: card.to_json()}))


def as_stored(state: State) -> State:
    """The tensors as a file holds them: floats as float16, on the CPU."""
    return {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous().cpu()
        for name, tensor in state.items()
    }


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
