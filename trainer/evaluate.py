"""Evaluation: a classifier and labelled faces in, one honest table out."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.classifier import EmotionClassifier
from models.crops import crops_from_tiles
from trainer import metrics
from trainer.data.faceset import FaceSet
from trainer.errors import DataError

BATCH = 128
CURVE_POINTS = 20
Progress = Callable[[int, int], None]
"""Told how many faces of how many are done."""


@dataclass(frozen=True)
class Predictions:
    """What a classifier said of every face: probabilities (n, K), and which faces it saw at all.

    A face that was not found (`found` False) has a row of zeros and counts as wrong.
    """

    probabilities: NDArray[np.float32]
    found: NDArray[np.bool_]


def predict(
    classifier: EmotionClassifier, faces: FaceSet, progress: Progress = lambda done, of: None
) -> Predictions:
    """Score aligned tiles, in batches; every face counts as found."""
    columns = columns_for(classifier.card.labels, faces)
    rows = []
    for start in range(0, len(faces), BATCH):
        part = slice(start, start + BATCH)
        crops = crops_from_tiles(faces.tiles[part])
        rows.append(classifier.predict(crops, faces.ids[part]).probabilities)
        progress(min(start + BATCH, len(faces)), len(faces))
    scores = (
        np.concatenate(rows) if rows else np.zeros((0, len(classifier.card.labels)), np.float32)
    )
    return Predictions(among(scores, columns), np.ones(len(faces), bool))


def among(scores: NDArray[np.float32], columns: NDArray[np.intp]) -> NDArray[np.float32]:
    """Probabilities (n, K) shared out again among some of the classes: (n, len(columns))."""
    chosen = scores[:, columns]
    return (chosen / np.maximum(chosen.sum(axis=1, keepdims=True), 1e-12)).astype(np.float32)


def columns_for(labels: tuple[str, ...], faces: FaceSet) -> NDArray[np.intp]:
    """Where the faces' classes stand among a classifier's labels.

    Raises DataError when the classifier lacks one of them.
    """
    missing = [name for name in faces.classes if name not in labels]
    if missing:
        raise DataError(
            f"the weights know no {missing[0]!r}", faces.name, "evaluate weights of these classes"
        )
    return np.array([labels.index(name) for name in faces.classes], np.intp)


def correctness(predictions: Predictions, faces: FaceSet) -> NDArray[np.bool_]:
    """(n,) whether each face was found and named right."""
    return predictions.found & (predictions.probabilities.argmax(axis=1) == faces.labels)


def condition_table(predictions: Predictions, faces: FaceSet) -> dict[str, Any]:
    """Everything said of one condition; with its own lines where faces repeat in Training."""
    table = _figures(predictions, faces)
    fresh = ~faces.seen_in_training
    if fresh.any() and not fresh.all():
        part = Predictions(predictions.probabilities[fresh], predictions.found[fresh])
        table["deduplicated"] = _figures(part, faces[fresh])
    return table


def _figures(predictions: Predictions, faces: FaceSet) -> dict[str, Any]:
    found = predictions.found
    p, y = predictions.probabilities[found], faces.labels[found]
    counts = metrics.confusion(p, y)
    recalls = counts.diagonal() / np.maximum(np.bincount(faces.labels, minlength=p.shape[1]), 1)
    figures: dict[str, Any] = {
        "n": len(faces),
        "accuracy": correctness(predictions, faces).mean(),
        "macro_f1": metrics.macro_f1(p, y),
        "ece": metrics.expected_calibration_error(p, y),
        "nll": metrics.negative_log_likelihood(p, y),
    }
    figures = {name: round(float(value), 5) for name, value in figures.items()}
    figures["n"] = len(faces)
    figures["recall"] = {
        name: round(float(value), 4) for name, value in zip(faces.classes, recalls, strict=True)
    }
    figures["confusion"] = counts.tolist()
    if not found.all():
        figures["found"] = round(float(found.mean()), 5)
    return figures


def coverage_table(predictions: Predictions, faces: FaceSet) -> dict[str, Any]:
    """Precision among the surest faces: at 80 %, and a curve of (coverage, error)."""
    p, y = predictions.probabilities, faces.labels
    reached, risk = metrics.risk_coverage(p, y)
    at = np.linspace(0, len(y) - 1, CURVE_POINTS + 1).astype(int)[1:]
    return {
        "precision_at_80": round(metrics.precision_at(p, y, 0.8), 5),
        "risk_coverage": [[round(float(reached[i]), 3), round(float(risk[i]), 5)] for i in at],
    }


def report(
    weights: Path,
    faces: FaceSet,
    conditions: dict[str, Predictions],
    averaging: str,
    started_s: float,
) -> dict[str, Any]:
    """The JSON object of `undercam evaluate`; the first condition gives the coverage."""
    tables = {name: condition_table(found, faces) for name, found in conditions.items()}
    mean = {
        key: round(float(np.mean([table[key] for table in tables.values()])), 5)
        for key in ("accuracy", "macro_f1", "ece", "nll")
    }
    return {
        "weights": weights.stem,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "data": faces.name,
        "protocol": faces.protocol,
        "averaging": averaging,
        "n": len(faces),
        "conditions": tables,
        "mean": mean,
        "coverage": coverage_table(next(iter(conditions.values())), faces),
        "seconds": round(time.perf_counter() - started_s, 1),
    }
