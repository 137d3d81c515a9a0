"""The result of `undercam evaluate`: metrics per condition, means over suites, and comparisons."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.udc.suites import CLEAN, CORRUPTIONS, complete
from trainer.compare import metrics
from trainer.compare.evaluate import (
    Predictions,
    mark_correct,
    tabulate_condition,
    tabulate_coverage,
)
from trainer.data.faceset import FaceSet

AVERAGED = (
    *("accuracy", "macro_f1", "ece", "nll", "retained"),
    *("neutral_share", "neutral_true_share", "rater_agreement", "rater_labels"),
)
PredictionsByCondition = Mapping[str, Predictions]
"""One classifier's predictions of the same faces, by condition."""
CorrectByCondition = Mapping[str, NDArray[np.bool_]]
"""(n,) whether each face was classified right, by condition."""


def build_report(
    weights: Path,
    faces: FaceSet,
    predictions: PredictionsByCondition,
    averaging: str,
    started_s: float,
) -> dict[str, Any]:
    """The JSON object of `undercam evaluate`; the coverage is that of the first condition.

    Where `clean` is among the conditions, each other one has the skill that it retains.
    """
    clean = predictions.get(CLEAN)
    tables = {
        cell: tabulate_condition(under_cell, faces, None if cell == CLEAN else clean)
        for cell, under_cell in predictions.items()
    }
    return {
        "weights": weights.stem,
        "sha256": hash_weights(weights),
        "data": faces.name,
        "protocol": faces.protocol,
        "averaging": averaging,
        "n": len(faces),
        "conditions": tables,
        "mean": tabulate_mean(list(tables.values())),
        "means": {
            name: tabulate_mean([tables[cell] for cell in cells])
            for name, cells in complete(tables).items()
        },
        "coverage": tabulate_coverage(next(iter(predictions.values())), faces),
        "seconds": round(time.perf_counter() - started_s, 1),
    }


def hash_weights(weights: Path) -> str:
    """The hex digest of a weights file."""
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def tabulate_mean(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means of the metrics over conditions, and the mean recall of each class; `retained` over the
    degraded conditions alone."""
    means: dict[str, Any] = {}
    for key in AVERAGED:
        values = [table[key] for table in tables if key in table]
        if values:
            means[key] = round(float(np.mean(values)), 5)
    # Every condition has the same faces, so the same classes.
    means["recall"] = {
        name: round(float(np.mean([table["recall"][name] for table in tables])), 4)
        for name in tables[0]["recall"]
    }
    if all("deduplicated" in table for table in tables):
        means["deduplicated"] = tabulate_mean([table["deduplicated"] for table in tables])
    return means


def compare_with(
    against: Path,
    predictions: PredictionsByCondition,
    others: PredictionsByCondition,
    faces: FaceSet,
) -> dict[str, Any]:
    """How much more often A (`predictions`) is right than B (`others`) on the same faces.

    Over all conditions, over each one, and over each complete suite; the face is the unit, see
    `metrics.paired_difference`. `mce` is A's error over B's, condition by condition.
    """
    a = {cell: mark_correct(one, faces) for cell, one in predictions.items()}
    b = {cell: mark_correct(one, faces) for cell, one in others.items()}
    means = {
        name: _difference(cells, a, b, faces) | _error_ratio(cells, a, b)
        for name, cells in complete(a).items()
    }
    return {
        "weights": against.stem,
        "sha256": hash_weights(against),
        **_difference(list(a), a, b, faces),
        "conditions": {cell: _difference([cell], a, b, faces) for cell in a},
        "means": means,
    }


def _difference(
    cells: Sequence[str], a: CorrectByCondition, b: CorrectByCondition, faces: FaceSet
) -> dict[str, Any]:
    """B's accuracy, and how much higher A's is; once more without the faces seen in training."""
    ours, theirs = (np.mean([rights[cell] for cell in cells], axis=0) for rights in (a, b))
    found = _gain(ours, theirs)
    fresh = ~faces.seen_in_training
    if fresh.any() and not fresh.all():
        found["deduplicated"] = _gain(ours[fresh], theirs[fresh])
    return found


def _gain(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> dict[str, Any]:
    found = metrics.paired_difference(ours, theirs)
    return {
        "accuracy": round(float(theirs.mean()), 5),
        "delta": round(found.delta, 5),
        "interval": [round(found.low, 5), round(found.high, 5)],
    }


def _error_ratio(
    cells: Sequence[str], a: CorrectByCondition, b: CorrectByCondition
) -> dict[str, float]:
    """Mean corruption error of A, B being 1 (Hendrycks & Dietterich 2019, arXiv 1903.12261)."""
    ratios = []
    for corruption in CORRUPTIONS:
        levels = [cell for cell in cells if cell.startswith(f"{corruption}/")]
        ours, theirs = (float(np.sum([~rights[c] for c in levels])) for rights in (a, b))
        if levels:
            ratios.append(ours / theirs if theirs else float("nan"))
    mean = float(np.mean(ratios))
    return {} if np.isnan(mean) else {"mce": round(mean, 4)}
