"""Evaluation: a classifier and labelled faces in, honest figures out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.crops import crops_from_tiles
from models.scores import EmotionClassifier
from models.udc.suites import degrade
from trainer.compare import metrics
from trainer.data.faceset import FaceSet
from trainer.errors import DataError

BATCH = 128
CURVE_POINTS = 20
Progress = Callable[[int, int], None]
"""Told how many faces of how many are done."""


@dataclass(frozen=True)
class Predictions:
    """What a classifier said of every face: probabilities (n, K), and which faces it saw at all.

    A face that was not found (`found` False) counts as wrong, at no confidence.
    """

    probabilities: NDArray[np.float32]
    found: NDArray[np.bool_]

    def __getitem__(self, rows: NDArray[np.bool_]) -> Predictions:
        return Predictions(self.probabilities[rows], self.found[rows])

    @property
    def answers(self) -> NDArray[np.int64]:
        """(n,) the likeliest class, metrics.NONE where no face was found."""
        return np.where(self.found, self.probabilities.argmax(axis=1), metrics.NONE)

    @property
    def confidence(self) -> NDArray[np.float32]:
        """(n,) the probability of the answer, 0 where no face was found."""
        return np.where(self.found, self.probabilities.max(axis=1), np.float32(0))


def predict(
    classifier: EmotionClassifier, faces: FaceSet, progress: Progress = lambda done, of: None
) -> Predictions:
    """Score aligned tiles, in batches; every face counts as found."""
    columns = columns_for(classifier.card.labels, faces)
    scores = np.zeros((len(faces), len(columns)), np.float32)
    for start in range(0, len(faces), BATCH):
        part = slice(start, start + BATCH)
        crops = crops_from_tiles(faces.tiles[part])
        said = classifier.predict(crops, faces.ids[part]).probabilities
        scores[part] = among(said, columns)
        progress(min(start + BATCH, len(faces)), len(faces))
    return Predictions(scores, np.ones(len(faces), bool))


def under(faces: FaceSet, cell: str) -> FaceSet:
    """The same faces under a condition of `models.udc.suites`."""
    return replace(faces, tiles=degrade(faces.tiles, faces.ids, faces.name, cell))


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
    return predictions.answers == faces.labels


def condition_table(
    predictions: Predictions, faces: FaceSet, clean: Predictions | None = None
) -> dict[str, Any]:
    """Everything said of one condition; once more without the faces that stand in Training.

    With what the same classifier said of the `clean` faces, also the skill that is left.
    """
    table = _figures(predictions, faces, clean)
    fresh = ~faces.seen_in_training
    if fresh.any() and not fresh.all():
        before = None if clean is None else clean[fresh]
        table["deduplicated"] = _figures(predictions[fresh], faces[fresh], before)
    return table


def _figures(predictions: Predictions, faces: FaceSet, clean: Predictions | None) -> dict[str, Any]:
    """Figures over all faces. The label of one that was not found has the likelihood of a guess."""
    answers, k = predictions.answers, len(faces.classes)
    guess = np.float32(1 / k)
    likely = np.where(predictions.found[:, None], predictions.probabilities, guess)
    right = correctness(predictions, faces)
    figures: dict[str, Any] = {
        "n": len(faces),
        "accuracy": round(metrics.accuracy(answers, faces.labels), 5),
        "macro_f1": round(metrics.macro_f1(answers, faces.labels, k), 5),
        "ece": round(metrics.expected_calibration_error(predictions.confidence, right), 5),
        "nll": round(metrics.negative_log_likelihood(likely, faces.labels), 5),
        "recall": {
            name: round(float(share), 4)
            for name, share in zip(
                faces.classes, metrics.recall(answers, faces.labels, k), strict=True
            )
            if not np.isnan(share)
        },
        "confusion": metrics.confusion(answers, faces.labels, k).tolist(),
    }
    if not predictions.found.all():
        figures["found"] = round(float(predictions.found.mean()), 5)
    if clean is not None:
        prior = float(np.bincount(faces.labels).max() / len(faces))
        before = metrics.accuracy(clean.answers, faces.labels)
        skill = metrics.retained_skill(metrics.accuracy(answers, faces.labels), before, prior)
        figures |= {} if np.isnan(skill) else {"retained": round(skill, 5)}
    return figures


def coverage_table(predictions: Predictions, faces: FaceSet) -> dict[str, Any]:
    """Precision among the surest faces: at 80 %, and a curve of (coverage, error)."""
    confidence, right = predictions.confidence, correctness(predictions, faces)
    reached, risk = metrics.risk_coverage(confidence, right)
    at = np.linspace(0, len(faces) - 1, CURVE_POINTS + 1).astype(int)[1:]
    return {
        "precision_at_80": round(metrics.precision_at(confidence, right, 0.8), 5),
        "risk_coverage": [[round(float(reached[i]), 3), round(float(risk[i]), 5)] for i in at],
    }
