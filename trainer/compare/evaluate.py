"""Evaluation: a classifier and labelled faces in, metrics out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.crops import ALIGNED, crops_from_tiles
from models.scores import EmotionClassifier
from models.udc.suites import degrade
from models.weights import ModelCard
from trainer.compare import metrics
from trainer.data.faceset import FaceSet
from trainer.errors import DataError

NEUTRAL = "neutral"
BATCH = 128
CURVE_POINTS = 20
Progress = Callable[[int, int], None]
"""Called with the number of faces done, and of all faces."""


@dataclass(frozen=True)
class Predictions:
    """A classifier's probabilities (n, K) of n faces, and `found` (n,), whether each was detected.

    A face that was not found counts as wrong, with confidence 0.
    """

    probabilities: NDArray[np.float32]
    found: NDArray[np.bool_]

    def __getitem__(self, rows: NDArray[np.bool_]) -> Predictions:
        return Predictions(self.probabilities[rows], self.found[rows])

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(n,) the most probable class, metrics.NONE where no face was found."""
        return np.where(self.found, self.probabilities.argmax(axis=1), metrics.NONE)

    @property
    def confidence(self) -> NDArray[np.float32]:
        """(n,) the probability of the predicted class, 0 where no face was found."""
        return np.where(self.found, self.probabilities.max(axis=1), np.float32(0))


def predict(
    classifier: EmotionClassifier, faces: FaceSet, progress: Progress = lambda done, of: None
) -> Predictions:
    """Classify aligned tiles, in batches; every face counts as found.

    Raises DataError for classes that the weights do not know, and tiles that they cannot take.
    """
    columns = find_columns(classifier.card.labels, faces)
    probabilities = np.zeros((len(faces), len(columns)), np.float32)
    for start in range(0, len(faces), BATCH):
        part = slice(start, start + BATCH)
        tiles = match_crop(faces[part], classifier.card).tiles
        crops = crops_from_tiles(tiles)
        scores = classifier.predict(crops, faces.ids[part])
        probabilities[part] = renormalise(scores.probabilities, columns)
        progress(min(start + BATCH, len(faces)), len(faces))
    return Predictions(probabilities, np.ones(len(faces), bool))


def match_crop(faces: FaceSet, card: ModelCard) -> FaceSet:
    """The same faces as tiles of the geometry that a card names, by the points found on the tiles
    as they are; raises DataError where they cannot be changed into it."""
    if card.crop == faces.crop:
        return faces
    if card.crop != ALIGNED:
        what = f"tiles of {faces.crop!r} for weights of {card.crop!r}"
        raise DataError(what, faces.name, "give the faces as they were read")
    # The detector's libraries are not on every machine that trains; most weights do without.
    from trainer.alignment import align_faces

    return align_faces(faces)


def apply_condition(faces: FaceSet, cell: str) -> FaceSet:
    """The same faces under a condition of `models.udc.suites`."""
    return replace(faces, tiles=degrade(faces.tiles, faces.ids, faces.name, cell))


def renormalise(
    probabilities: NDArray[np.float32], columns: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Probabilities (n, K) restricted to some of the classes: (n, len(columns)), rows sum to 1."""
    chosen = probabilities[:, columns]
    return (chosen / np.maximum(chosen.sum(axis=1, keepdims=True), 1e-12)).astype(np.float32)


def find_columns(labels: tuple[str, ...], faces: FaceSet) -> NDArray[np.intp]:
    """The columns of the faces' classes among a classifier's labels.

    Raises DataError where the classifier lacks one of them.
    """
    missing = [name for name in faces.classes if name not in labels]
    if missing:
        raise DataError(
            f"the weights know no {missing[0]!r}", faces.name, "evaluate weights of these classes"
        )
    return np.array([labels.index(name) for name in faces.classes], np.intp)


def mark_correct(predictions: Predictions, faces: FaceSet) -> NDArray[np.bool_]:
    """(n,) whether each face was found and its predicted class is the label."""
    return predictions.predicted == faces.labels


def tabulate_condition(
    predictions: Predictions, faces: FaceSet, clean: Predictions | None = None
) -> dict[str, Any]:
    """All metrics under one condition; once more without the faces that are in Training.

    With the same classifier's predictions of the `clean` faces, also the skill that is retained.
    """
    table = _metrics(predictions, faces, clean)
    fresh = ~faces.seen_in_training
    if fresh.any() and not fresh.all():
        before = None if clean is None else clean[fresh]
        table["deduplicated"] = _metrics(predictions[fresh], faces[fresh], before)
    return table


def _metrics(predictions: Predictions, faces: FaceSet, clean: Predictions | None) -> dict[str, Any]:
    """Metrics over all faces. The label of one that was not found has the likelihood of a guess.

    `neutral_share`: predicted neutral, beside `neutral_true_share`. `rater_agreement`: of the
    prediction with a random rater of the face, beside that of the labels, `rater_labels`.
    """
    predicted, k = predictions.predicted, len(faces.classes)
    guess = np.float32(1 / k)
    likely = np.where(predictions.found[:, None], predictions.probabilities, guess)
    right = mark_correct(predictions, faces)
    table: dict[str, Any] = {
        "n": len(faces),
        "accuracy": round(metrics.accuracy(predicted, faces.labels), 5),
        "macro_f1": round(metrics.macro_f1(predicted, faces.labels, k), 5),
        "ece": round(metrics.expected_calibration_error(predictions.confidence, right), 5),
        "nll": round(metrics.negative_log_likelihood(likely, faces.labels), 5),
        "recall": {
            name: round(float(share), 4)
            for name, share in zip(
                faces.classes, metrics.recall(predicted, faces.labels, k), strict=True
            )
            if not np.isnan(share)
        },
        "confusion": metrics.confusion_matrix(predicted, faces.labels, k).tolist(),
    }
    if NEUTRAL in faces.classes:
        neutral = faces.classes.index(NEUTRAL)
        table["neutral_share"] = round(metrics.predicted_share(predicted, neutral), 5)
        table["neutral_true_share"] = round(metrics.predicted_share(faces.labels, neutral), 5)
    if faces.votes is not None:
        for name, classes in (("rater_agreement", predicted), ("rater_labels", faces.labels)):
            table[name] = round(metrics.rater_agreement(classes, faces.votes), 5)
    if not predictions.found.all():
        table["found"] = round(float(predictions.found.mean()), 5)
    if clean is not None:
        prior = float(np.bincount(faces.labels).max() / len(faces))
        before = metrics.accuracy(clean.predicted, faces.labels)
        skill = metrics.retained_skill(metrics.accuracy(predicted, faces.labels), before, prior)
        table |= {} if np.isnan(skill) else {"retained": round(skill, 5)}
    return table


def tabulate_coverage(predictions: Predictions, faces: FaceSet) -> dict[str, Any]:
    """Precision among the most confident faces: at 80 %, and a curve of (coverage, error)."""
    confidence, right = predictions.confidence, mark_correct(predictions, faces)
    reached, risk = metrics.risk_coverage(confidence, right)
    at = np.linspace(0, len(faces) - 1, CURVE_POINTS + 1).astype(int)[1:]
    return {
        "precision_at_80": round(metrics.precision_at(confidence, right, 0.8), 5),
        "risk_coverage": [[round(float(reached[i]), 3), round(float(risk[i]), 5)] for i in at],
    }
