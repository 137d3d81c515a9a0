"""The comparison of models, made again from kept predictions, or from the weights themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.udc.suites import CLEAN, complete
from trainer.compare import metrics
from trainer.compare.budgets import (
    is_complete,
    is_control,
    learned_alike,
    passes,
    saw_displays,
    teachers,
)
from trainer.compare.evaluate import Predictions, correctness
from trainer.compare.predictions import SavedPredictions, read
from trainer.data.faceset import FaceSet
from trainer.errors import DataError

GROUPED_BY = ("weights", "sha256", "data", "protocol", "averaging", "way", "n")
UDC = "udc"
"""Every cell of udc_t and udc_p."""


@dataclass(frozen=True)
class Evaluated:
    """All conditions under which one file of weights was asked about the same faces."""

    about: dict[str, Any]
    faces: FaceSet
    said: dict[str, Predictions]


def kept_in(folder: Path) -> list[Evaluated]:
    """Everything kept in a folder, by weights; raises DataError for a folder that holds nothing."""
    groups: dict[tuple[Any, ...], list[SavedPredictions]] = {}
    for path in sorted(folder.glob("*.npz")):
        kept = read(path)
        groups.setdefault(tuple(kept.about[name] for name in GROUPED_BY), []).append(kept)
    if not groups:
        remedy = "write some with `undercam evaluate --keep`"
        raise DataError("no kept predictions", str(folder), remedy)
    return [
        Evaluated(
            group[0].about, group[0].faces, {k.about["condition"]: k.predictions for k in group}
        )
        for group in groups.values()
    ]


def rows(evaluated: Iterable[Evaluated]) -> list[dict[str, Any]]:
    """A row for each: accuracy on clean faces, under each suite that is whole, and in the cells of
    none; without duplicates beside."""
    found = (_row(one) for one in evaluated)
    return sorted(found, key=lambda row: (_by_number(row["weights"]), row["averaging"]))


def _row(one: Evaluated) -> dict[str, Any]:
    row: dict[str, Any] = {
        key: one.about[key] for key in ("weights", "data", "protocol", "averaging", "way", "n")
    }
    card = one.about["card"]
    row |= {"panel": saw_displays(card), "seed": card["recipe"].get("seed")}
    row |= {"passes": passes(card), "teachers": list(teachers(card))}
    for name, rights in suites(one):
        fresh = ~one.faces.seen_in_training
        row[name] = round(float(rights.mean()), 5)
        if fresh.any() and not fresh.all():
            row[f"{name}, new faces"] = round(float(rights[fresh].mean()), 5)
    return row


def _by_number(name: str) -> list[tuple[str, int]]:
    """Sorts t2 before t16."""
    return [(word, int(number or 0)) for word, number in re.findall(r"(\D*)(\d*)", name)]


def suites(one: Evaluated) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Of `clean`, of each whole suite, and of the cells of none: its name and (n,) how often each
    face was named right."""
    right = {cell: correctness(said, one.faces) for cell, said in one.said.items()}
    cells_of: dict[str, tuple[str, ...]] = {CLEAN: (CLEAN,)} if CLEAN in right else {}
    cells_of |= complete(right)
    alone = right.keys() - {cell for cells in cells_of.values() for cell in cells}
    cells_of |= {cell: (cell,) for cell in sorted(alone)}
    for name, cells in cells_of.items():
        yield name, np.mean([right[cell] for cell in cells], axis=0)


def differences(evaluated: Iterable[Evaluated], model: str, suite: str) -> list[dict[str, Any]]:
    """How much more often weights of `model` are right than each of another model, or than their
    own controls, that learned under the same condition, on the same faces: the face is the unit,
    95 % interval (see `metrics.paired_difference`), and of a single condition McNemar's p; once
    more without those seen in training.

    `learned_alike` says whether both were given as much (see `trainer.compare.budgets`).
    """
    every = [(one, rights) for one in evaluated for name, rights in suites(one) if name == suite]
    found: list[dict[str, Any]] = []
    for ours, a in every:
        for theirs, b in every:
            mine, other = ours.about["card"], theirs.about["card"]
            is_ours = mine["model"] == model and is_complete(mine)
            is_rival = other["model"] != model or is_control(other, mine)
            if not is_ours or not is_rival or not _comparable(ours, theirs):
                continue
            told = {key: ours.about[key] for key in GROUPED_BY[2:]}
            told |= {"panel": saw_displays(mine), "learned_alike": learned_alike(mine, other)}
            names = {"weights": ours.about["weights"], "against": theirs.about["weights"]}
            found.append(names | {"suite": suite} | told | _gain(a, b, suite))
            fresh = ~ours.faces.seen_in_training
            if fresh.any() and not fresh.all():
                found[-1]["deduplicated"] = _gain(a[fresh], b[fresh], suite)
    return found


def _gain(a: NDArray[np.float64], b: NDArray[np.float64], suite: str) -> dict[str, Any]:
    gain = metrics.paired_difference(a, b)
    told: dict[str, Any] = {
        "delta": round(gain.delta, 5),
        "interval": [round(gain.low, 5), round(gain.high, 5)],
    }
    if suite == CLEAN:  # one condition: over a mean of several it would find what is not there
        told["mcnemar_p"] = round(metrics.mcnemar(a > 0, b > 0), 5)
    return told


def _comparable(one: Evaluated, other: Evaluated) -> bool:
    """The same faces asked in the same way, and displays in the training of both or of neither."""
    asked = all(one.about[key] == other.about[key] for key in GROUPED_BY[2:])
    return asked and saw_displays(one.about["card"]) == saw_displays(other.about["card"])


def agreement(kept: Evaluated, again: Evaluated) -> dict[str, float]:
    """Of each condition asked again, the share of its faces that get the kept answer."""
    return {
        cell: round(float(np.mean(said.answers == kept.said[cell].answers[: len(said.answers)])), 5)
        for cell, said in again.said.items()
    }
