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
from safetensors.torch import save as to_bytes
from torch import Tensor

from models.atomic_files import writing
from models.card_json import are_arguments, is_integer, is_line, is_number, read_json
from models.errors import ModelError

CARD_KEY = "undercam.card"
VERSION = 1
MOST_PX, MOST_LABELS = 1024, 100
MOST_SAID = 200
"""Characters of a card that an error repeats."""
State = dict[str, Tensor]


@dataclass(frozen=True)
class ModelCard:
    """What a network is, what it was fed with, and what was measured of it.

    `model` names the class (see `models.loading`), `network` its keyword arguments; `input_px` and
    `channels` (1 or 3) its input, normalised as (x - mean) / std with x in 0..1; `crop` the
    geometry of the crops (see `models.crops`); `temperature` divides the logits; `metrics` holds
    what was measured, each with its data and protocol in the key or value.

    Raises ValueError for a field of another type, or a number that no network can be asked with.
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
        named = isinstance(self.labels, tuple) and all(is_line(label, 100) for label in self.labels)
        for name, right in (
            ("name", is_line(self.name)),
            ("model", is_line(self.model)),
            ("network", are_arguments(self.network)),
            ("labels", named and 1 < len(set(self.labels)) == len(self.labels) <= MOST_LABELS),
            ("input_px", is_integer(self.input_px, 1, MOST_PX)),
            ("channels", self.channels in (1, 3) and is_integer(self.channels, 1, 3)),
            ("mean", is_number(self.mean, -1e6, 1e6)),
            ("std", is_number(self.std, 1e-6, 1e6)),
            ("crop", is_line(self.crop)),
            ("data", isinstance(self.data, str)),
            ("data_terms", isinstance(self.data_terms, str)),
            ("recipe", isinstance(self.recipe, dict)),
            ("temperature", is_number(self.temperature, 1e-6, 1e6)),
            ("metrics", isinstance(self.metrics, dict)),
            ("git", is_line(self.git)),
        ):
            if not right:
                raise ValueError(f"{name} {_shortened(repr(getattr(self, name)))}")

    def to_json(self) -> str:
        """The card as one line of JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read a card back; raises ValueError, TypeError or KeyError for anything but a card, in
        bounded time and memory."""
        fields = read_json(text)
        if fields["version"] != VERSION:
            raise ValueError(f"version {fields['version']}, this code reads {VERSION}")
        if not isinstance(fields["labels"], list):
            raise ValueError("labels: no list")
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
            f"unreadable card ({_shortened(str(error))})",
            str(path),
            "train the weights again with this version",
        ) from error


def read_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a weights file, none of them read."""
    with _opened(Path(path)) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


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
        raise misfit(network, path) from error


def misfit(network: torch.nn.Module, path: str | Path) -> ModelError:
    """A file's tensors are not this network's."""
    remedy = f"its tensors do not fit {type(network).__name__}; train or fetch them again"
    return ModelError("weights of another network", str(path), remedy)


def _shortened(text: str) -> str:
    """On one line, and not much of it: a file may say anything."""
    line = " ".join(text.split())
    line = line if line.isprintable() else repr(line)
    return line if len(line) <= MOST_SAID else f"{line[:MOST_SAID]}..."


def _opened(path: Path) -> Any:
    if not path.is_file():
        raise ModelError("no such weights", str(path), "give a name in models/zoo or a file")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ModelError(
            "damaged weights or not safetensors", str(path), "fetch or train them again"
        ) from error
