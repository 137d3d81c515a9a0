"""What `undercam evaluate` says: a table for each condition, means over suites, and comparisons."""

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
from trainer.compare.evaluate import Predictions, condition_table, correctness, coverage_table
from trainer.data.faceset import FaceSet

AVERAGED = ("accuracy", "macro_f1", "ece", "nll", "retained")
ClassifiedFaces = Mapping[str, Predictions]
"""What one classifier said under each condition."""
Rights = Mapping[str, NDArray[np.bool_]]
"""Of each condition, (n,) whether each face was named right."""


def report(
    weights: Path, faces: FaceSet, looks: ClassifiedFaces, averaging: str, started_s: float
) -> dict[str, Any]:
    """The JSON object of `undercam evaluate`; the first condition gives the coverage.

    Where `clean` is among the conditions, each other one says how much skill is retained.
    """
    clean = looks.get(CLEAN)
    tables = {
        cell: condition_table(said, faces, None if cell == CLEAN else clean)
        for cell, said in looks.items()
    }
    return {
        "weights": weights.stem,
        "sha256": sha256_of(weights),
        "data": faces.name,
        "protocol": faces.protocol,
        "averaging": averaging,
        "n": len(faces),
        "conditions": tables,
        "mean": mean_table(list(tables.values())),
        "means": {
            name: mean_table([tables[cell] for cell in cells])
            for name, cells in complete(tables).items()
        },
        "coverage": coverage_table(next(iter(looks.values())), faces),
        "seconds": round(time.perf_counter() - started_s, 1),
    }


def sha256_of(weights: Path) -> str:
    """The hex digest of a weights file."""
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def mean_table(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means of the figures that every table has; `retained` over the harmed conditions."""
    means: dict[str, Any] = {}
    for key in AVERAGED:
        values = [table[key] for table in tables if key in table]
        if values:
            means[key] = round(float(np.mean(values)), 5)
    if all("deduplicated" in table for table in tables):
        means["deduplicated"] = mean_table([table["deduplicated"] for table in tables])
    return means


def compare(
    against: Path, looks: ClassifiedFaces, others: ClassifiedFaces, faces: FaceSet
) -> dict[str, Any]:
    """How much more often A (`looks`) is right than B (`others`) on the same faces.

    Over all conditions, over each one, and over each suite that is whole; the face is the unit,
    see `metrics.paired_difference`. `mce` is A's error over B's, condition by condition.
    """
    a = {cell: correctness(said, faces) for cell, said in looks.items()}
    b = {cell: correctness(said, faces) for cell, said in others.items()}
    means = {
        name: _difference(cells, a, b, faces) | _error_ratio(cells, a, b)
        for name, cells in complete(a).items()
    }
    return {
        "weights": against.stem,
        "sha256": sha256_of(against),
        **_difference(list(a), a, b, faces),
        "conditions": {cell: _difference([cell], a, b, faces) for cell in a},
        "means": means,
    }


def _difference(cells: Sequence[str], a: Rights, b: Rights, faces: FaceSet) -> dict[str, Any]:
    """B's accuracy, and how much more A has; once more without the faces seen in training."""
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


def _error_ratio(cells: Sequence[str], a: Rights, b: Rights) -> dict[str, float]:
    """Mean corruption error of A, B being 1 (Hendrycks & Dietterich 2019, arXiv 1903.12261)."""
    ratios = []
    for corruption in CORRUPTIONS:
        levels = [cell for cell in cells if cell.startswith(f"{corruption}/")]
        ours, theirs = (float(np.sum([~rights[c] for c in levels])) for rights in (a, b))
        if levels:
            ratios.append(ours / theirs if theirs else float("nan"))
    mean = float(np.mean(ratios))
    return {} if np.isnan(mean) else {"mce": round(mean, 4)}
