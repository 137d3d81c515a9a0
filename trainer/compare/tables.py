"""The comparison of models, computed from saved predictions or from the weights themselves."""

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
    count_epochs,
    have_equal_budgets,
    is_complete,
    is_control,
    is_udc_trained,
    list_teachers,
)
from trainer.compare.evaluate import Predictions, mark_correct, tabulate_condition
from trainer.compare.predictions import SavedPredictions, load_predictions
from trainer.compare.report import tabulate_mean
from trainer.data.faceset import FaceSet
from trainer.errors import DataError

PROTOCOL_FIELDS = ("data", "protocol", "averaging", "way", "n")
"""The fields of `about` that must be equal for two evaluations to be compared."""
GROUP_FIELDS = ("weights", "sha256", *PROTOCOL_FIELDS)
"""The fields of `about` that all conditions of one evaluation share."""


@dataclass(frozen=True)
class Evaluation:
    """The predictions of one weights file for the same faces, by condition."""

    about: dict[str, Any]
    faces: FaceSet
    predictions: dict[str, Predictions]


def load_evaluations(folder: Path) -> list[Evaluation]:
    """All evaluations saved in a folder; raises DataError for a folder without any."""
    groups: dict[tuple[Any, ...], list[SavedPredictions]] = {}
    for path in sorted(folder.glob("*.npz")):
        saved = load_predictions(path)
        groups.setdefault(tuple(saved.about[name] for name in GROUP_FIELDS), []).append(saved)
    if not groups:
        remedy = "write some with `undercam evaluate --save-predictions`"
        raise DataError("no saved predictions", str(folder), remedy)
    return [
        Evaluation(
            group[0].about, group[0].faces, {s.about["condition"]: s.predictions for s in group}
        )
        for group in groups.values()
    ]


def build_rows(evaluations: Iterable[Evaluation]) -> list[dict[str, Any]]:
    """A row per evaluation: accuracy on clean faces, over each complete suite and in all other
    cells; beside each, the accuracy without the faces that are in Training, macro F1, and the share
    predicted neutral, each the mean over the suite's cells."""
    rows = (_row(one) for one in evaluations)
    return sorted(rows, key=lambda row: (_by_number(row["weights"]), row["averaging"]))


def _row(one: Evaluation) -> dict[str, Any]:
    row: dict[str, Any] = {key: one.about[key] for key in ("weights", *PROTOCOL_FIELDS)}
    card = one.about["card"]
    row |= {"panel": is_udc_trained(card), "seed": card["recipe"].get("seed")}
    row |= {"epochs": count_epochs(card), "teachers": list(list_teachers(card))}
    fresh = ~one.faces.seen_in_training
    for name, right in suite_correctness(one):
        row[name] = round(float(right.mean()), 5)
        if fresh.any() and not fresh.all():
            row[f"{name}, new faces"] = round(float(right[fresh].mean()), 5)
    tables = {cell: tabulate_condition(each, one.faces) for cell, each in one.predictions.items()}
    for name, cells in suite_cells(one).items():
        mean = tabulate_mean([tables[cell] for cell in cells])
        row[f"{name}, macro F1"] = mean["macro_f1"]
        if "neutral_share" in mean:
            row[f"{name}, neutral"] = mean["neutral_share"]
            row["neutral_true_share"] = mean["neutral_true_share"]
    return row


def _by_number(name: str) -> list[tuple[str, int]]:
    """Sorts t2 before t16."""
    return [(word, int(number or 0)) for word, number in re.findall(r"(\D*)(\d*)", name)]


def suite_correctness(one: Evaluation) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """The name of `clean`, of each complete suite and of all other cells, each with (n,) the share
    of its cells in which a face is classified right."""
    right = {cell: mark_correct(each, one.faces) for cell, each in one.predictions.items()}
    for name, cells in suite_cells(one).items():
        yield name, np.mean([right[cell] for cell in cells], axis=0)


def suite_cells(one: Evaluation) -> dict[str, tuple[str, ...]]:
    """The cells of `clean`, of each complete suite, and of each cell that is in none."""
    there = one.predictions.keys()
    cells_of: dict[str, tuple[str, ...]] = {CLEAN: (CLEAN,)} if CLEAN in there else {}
    cells_of |= complete(there)
    alone = there - {cell for cells in cells_of.values() for cell in cells}
    return cells_of | {cell: (cell,) for cell in sorted(alone)}


def compare_models(
    evaluations: Iterable[Evaluation], model: str, suite: str
) -> list[dict[str, Any]]:
    """How much more accurate weights of `model` are than each baseline and each of their controls.

    A baseline is any other model, a control an ablation of the same one, trained under the same
    condition (see `trainer.compare.budgets`). On the same faces, the face being the unit: 95 %
    interval (see `metrics.paired_difference`), and for a single condition McNemar's p; once more
    without the faces seen in training. `learned_alike`: whether both had equal budgets.
    """
    every = [
        (one, right)
        for one in evaluations
        for name, right in suite_correctness(one)
        if name == suite
    ]
    found: list[dict[str, Any]] = []
    for ours, a in every:
        for theirs, b in every:
            card, other = ours.about["card"], theirs.about["card"]
            is_ours = card["model"] == model and is_complete(card)
            is_compared = other["model"] != model or is_control(other, card)
            if not is_ours or not is_compared or not _is_comparable(ours, theirs):
                continue
            facts = {key: ours.about[key] for key in PROTOCOL_FIELDS}
            facts |= {"panel": is_udc_trained(card)}
            facts |= {"learned_alike": have_equal_budgets(card, other)}
            names = {"weights": ours.about["weights"], "against": theirs.about["weights"]}
            found.append(names | {"suite": suite} | facts | _gain(a, b, suite))
            fresh = ~ours.faces.seen_in_training
            if fresh.any() and not fresh.all():
                found[-1]["deduplicated"] = _gain(a[fresh], b[fresh], suite)
    return found


def _gain(a: NDArray[np.float64], b: NDArray[np.float64], suite: str) -> dict[str, Any]:
    gain = metrics.paired_difference(a, b)
    row: dict[str, Any] = {
        "delta": round(gain.delta, 5),
        "interval": [round(gain.low, 5), round(gain.high, 5)],
    }
    # McNemar's test needs a face to be right or wrong; over the mean of several conditions it would
    # report differences that are not there.
    if suite == CLEAN:
        row["mcnemar_p"] = round(metrics.mcnemar(a > 0, b > 0), 5)
    return row


def _is_comparable(one: Evaluation, other: Evaluation) -> bool:
    """Whether both are of the same faces and protocol, and displays were in the training of both or
    of neither."""
    is_same = all(one.about[key] == other.about[key] for key in PROTOCOL_FIELDS)
    return is_same and is_udc_trained(one.about["card"]) == is_udc_trained(other.about["card"])


def measure_agreement(saved: Evaluation, again: Evaluation) -> dict[str, float]:
    """By condition of `again`, the share of its faces with the same predicted class as saved."""
    agreement = {}
    for cell, predictions in again.predictions.items():
        before = saved.predictions[cell].predicted[: len(predictions.predicted)]
        agreement[cell] = round(float(np.mean(predictions.predicted == before)), 5)
    return agreement
