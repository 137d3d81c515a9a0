"""What a weights file says of itself: the model card, and how it is read, checked and written.

Version 2 is written. Version 1, of one mean and std for all channels, is read and lifted.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from models.card_json import (
    are_arguments,
    is_digest,
    is_integer,
    is_line,
    is_number,
    read_json,
    shorten,
)

VERSION = 2
RELEASE = "0.1.0"
"""The first release that reads this version; a card names its own, for older readers to quote."""
MOST_PX, MOST_LABELS, MOST_ENCODERS = 1024, 100, 16
FIGURES = ("recall", "precision", "support")
_PATH = re.compile(r"[/\\]")


@dataclass(frozen=True)
class ModelCard:
    """What a network is, what it is fed with, and what was measured of it.

    `model` names the family (see `models.registry`), `network` its keyword arguments; `input_px`
    and `channels` (1 or 3) its input, normalised as (x - mean) / std with x in 0..1, one mean and
    std per channel; `crop` the geometry of the crops (see `models.crops`); `temperature` divides
    the logits; `metrics` holds what was measured, each with its data and protocol in the key or
    value. `per_class`: recall and precision in 0..1, None where they are undefined, and support
    (faces) of each label, of which `macro_f1` in 0..1 is the summary; empty and None where nothing
    was measured. `encoders`: the pretrained networks that this one starts from or reads, by name,
    with the sha256 of their weights; never where a machine keeps them.

    Raises ValueError for a field of another type, or a value that no network can run with.
    """

    name: str
    model: str
    network: dict[str, Any]
    labels: tuple[str, ...]
    input_px: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: str
    data: str
    data_terms: str
    recipe: dict[str, Any] = field(default_factory=dict)
    temperature: float = 1.0
    metrics: dict[str, Any] = field(default_factory=dict)
    git: str = ""
    encoders: dict[str, str] = field(default_factory=dict)
    per_class: dict[str, dict[str, float | None]] = field(default_factory=dict)
    macro_f1: float | None = None
    version: int = VERSION

    def __post_init__(self) -> None:
        named = isinstance(self.labels, tuple) and all(is_line(label, 100) for label in self.labels)
        for name, is_valid in (
            ("name", is_line(self.name)),
            ("model", is_line(self.model)),
            ("network", are_arguments(self.network) and not _has_path(self.network)),
            ("labels", named and 1 < len(set(self.labels)) == len(self.labels) <= MOST_LABELS),
            ("input_px", is_integer(self.input_px, 1, MOST_PX)),
            ("channels", self.channels in (1, 3) and is_integer(self.channels, 1, 3)),
            ("mean", _fits_channels(self.mean, self.channels, -1e6)),
            ("std", _fits_channels(self.std, self.channels, 1e-6)),
            ("crop", is_line(self.crop)),
            ("data", isinstance(self.data, str)),
            ("data_terms", isinstance(self.data_terms, str)),
            ("recipe", isinstance(self.recipe, dict)),
            ("temperature", is_number(self.temperature, 1e-6, 1e6)),
            ("metrics", isinstance(self.metrics, dict)),
            ("git", is_line(self.git)),
            ("encoders", _are_encoders(self.encoders)),
            ("per_class", _are_figures(self.per_class, self.labels)),
            ("macro_f1", self.macro_f1 is None or is_number(self.macro_f1, 0, 1)),
            ("version", is_integer(self.version, VERSION, VERSION)),
        ):
            if not is_valid:
                raise ValueError(f"{name} {shorten(repr(getattr(self, name)))}")

    def to_json(self) -> str:
        """The card as one line of JSON, version 2."""
        return json.dumps(dataclasses.asdict(self) | {"release": RELEASE}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read a card of version 1 or 2; raises ValueError, TypeError or KeyError for anything but
        a card, in bounded time and memory. NewerVersionError for one of a later version."""
        fields = read_json(text)
        version = fields["version"]
        if is_integer(version, VERSION + 1, 10**6):
            raise NewerVersionError(version, fields.get("release"))
        if not is_integer(version, 1, VERSION):
            raise ValueError(f"version {shorten(repr(version))}, this release reads 1 to {VERSION}")
        if not isinstance(fields["labels"], list):
            raise ValueError("labels: no list")
        fields = fields | {"labels": tuple(fields["labels"])}
        if version == VERSION and not isinstance(fields.pop("release", ""), str):
            raise ValueError("release: no text")
        if version == 1:
            return cls(**_lift(fields))
        for name in ("mean", "std"):
            if not isinstance(fields[name], list):
                raise ValueError(f"{name}: no list")
            fields[name] = tuple(fields[name])
        return cls(**fields)


class NewerVersionError(ValueError):
    """A card of a later version than this release reads; `remedy` says which release reads it."""

    def __init__(self, version: int, release: object) -> None:
        super().__init__(f"card of version {version}, this release reads 1 to {VERSION}")
        known = isinstance(release, str) and re.fullmatch(r"\d{1,4}(\.\d{1,4}){1,2}", release)
        reader = f"{release} or later" if known else "a later release"
        self.remedy = f"read it with Undercam {reader}"


def class_figures(
    labels: Sequence[str], confusion: Sequence[Sequence[int]]
) -> tuple[dict[str, dict[str, float | None]], float]:
    """`per_class` and `macro_f1` of a card, from counts (K, K), rows the labels, columns the
    predictions. Classes without faces do not count for the mean.

    >>> class_figures(("a", "b"), [[3, 1], [0, 0]])[0]["a"]
    {'recall': 0.75, 'precision': 1.0, 'support': 4}
    """
    figures: dict[str, dict[str, float | None]] = {}
    f1: list[float] = []
    for row, label in enumerate(labels):
        right, support = confusion[row][row], sum(confusion[row])
        predicted = sum(counts[row] for counts in confusion)
        figures[label] = {
            "recall": round(right / support, 4) if support else None,
            "precision": round(right / predicted, 4) if predicted else None,
            "support": support,
        }
        if support:
            f1.append(2 * right / (support + predicted))
    return figures, round(sum(f1) / len(f1), 5) if f1 else 0.0


def _lift(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a card of version 1 as those of version 2.

    What version 1 named by its folder is named by the folder's last part; its digest is unknown.
    """
    lifted = fields | {"version": VERSION}
    channels = fields["channels"] if fields["channels"] in (1, 3) else 1
    for name in ("mean", "std"):
        if isinstance(fields[name], list):
            raise ValueError(f"{name}: a list in a card of version 1")
        lifted[name] = (fields[name],) * channels
    network = fields["network"]
    if isinstance(network, dict) and isinstance(network.get("clip"), str):
        lifted["network"] = network | {"clip": _PATH.split(network["clip"].rstrip("/\\"))[-1]}
    for table in _tables(fields.get("metrics")):
        counts: Any = table.get("confusion")
        if _are_counts(counts, len(fields["labels"])) and all(map(is_line, fields["labels"])):
            lifted["per_class"], lifted["macro_f1"] = class_figures(fields["labels"], counts)
            break
    return lifted


def _tables(metrics: object) -> list[dict[str, Any]]:
    if not isinstance(metrics, dict):
        return []
    return [table for table in metrics.values() if isinstance(table, dict)]


def _are_counts(value: object, k: int) -> bool:
    """Whether a value is a confusion matrix (k, k)."""
    return (
        isinstance(value, list)
        and len(value) == k <= MOST_LABELS
        and all(isinstance(row, list) and len(row) == k for row in value)
        and all(is_integer(count, 0, 10**9) for row in value for count in row)
    )


def _fits_channels(value: object, channels: object, least: float) -> bool:
    is_tuple = isinstance(value, tuple) and len(value) == channels
    return is_tuple and all(is_number(one, least, 1e6) for one in value)  # type: ignore[attr-defined]


def _has_path(arguments: dict[str, Any]) -> bool:
    """Whether an argument names a file of some machine."""
    return any(isinstance(one, str) and _PATH.search(one) for one in arguments.values())


def _are_encoders(value: object) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= MOST_ENCODERS
        and all(is_line(name, 100) and not _PATH.search(name) for name in value)
        and all(is_digest(digest) for digest in value.values())
    )


def _are_figures(value: object, labels: tuple[str, ...]) -> bool:
    """Whether a value holds the FIGURES of labels of the card, and nothing else."""
    return isinstance(value, dict) and all(
        label in labels
        and isinstance(row, dict)
        and set(row) == set(FIGURES)
        and all(row[name] is None or is_number(row[name], 0, 1) for name in FIGURES[:2])
        and is_integer(row["support"], 0, 10**9)
        for label, row in value.items()
    )
