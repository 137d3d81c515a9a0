"""Honest figures: a face not found is wrong, faces seen in training have their own line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.crops import Crops
from models.emotions import BASIC_SEVEN, EMOTIONS
from models.scores import EmotionScores, normalised_entropy
from models.udc.suites import degrade
from models.weights import ModelCard
from trainer.compare.evaluate import (
    Predictions,
    apply_condition,
    find_columns,
    mark_correct,
    predict,
    tabulate_condition,
    tabulate_coverage,
)
from trainer.data.faceset import FaceSet
from trainer.data.readers import open_faces
from trainer.errors import DataError

MakeFaces = Callable[..., FaceSet]


class Table:
    """An `EmotionClassifier` that looks every face up by its id; notes the sizes of its batches."""

    mode = "table"

    def __init__(self, card: ModelCard, rows: NDArray[np.float32]) -> None:
        self.card = card
        self.rows = rows
        self.batches: list[int] = []

    def predict(self, crops: Crops, ids: NDArray[np.int64] | None = None) -> EmotionScores:
        assert ids is not None
        assert len(crops) == len(ids)
        self.batches.append(len(crops))
        rows = self.rows[ids]
        return EmotionScores(rows, normalised_entropy(rows))


def some_rows(n: int, k: int = 8, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).dirichlet(np.full(k, 0.4), n).astype(np.float32)


def sure(answers: list[int], k: int = 8, confidence: float = 0.9) -> NDArray[np.float32]:
    """Rows with `confidence` on the answer and the rest shared."""
    rows = np.full((len(answers), k), (1 - confidence) / (k - 1), np.float32)
    rows[np.arange(len(answers)), answers] = confidence
    return rows


def labelled(labels: list[int], classes: tuple[str, ...] = EMOTIONS) -> FaceSet:
    tiles = np.zeros((len(labels), 48, 48), np.uint8)
    return FaceSet.of_labels("made", classes, tiles, np.array(labels))


def test_every_face_is_classified_once_with_its_id(
    tiny_card: ModelCard, make_faces: MakeFaces
) -> None:
    faces = make_faces(300)
    order = np.random.default_rng(5).permutation(300)
    classifier, done = Table(tiny_card, some_rows(300)), []
    predictions = predict(classifier, faces[order], lambda count, of: done.append((count, of)))
    np.testing.assert_allclose(predictions.probabilities, classifier.rows[order], atol=1e-6)
    assert predictions.found.all()
    assert classifier.batches == [128, 128, 44]
    assert done == [(128, 300), (256, 300), (300, 300)]


def test_a_face_not_found_is_wrong_everywhere() -> None:
    faces = labelled([0, 0, 1, 1])
    rows = sure([0, 0, 1, 1])
    rows[1] = 0  # not found: a row of zeros, whose likeliest class would be 0, the label
    predictions = Predictions(rows, np.array([True, False, True, True]))
    assert mark_correct(predictions, faces).tolist() == [True, False, True, True]
    table = tabulate_condition(predictions, faces)
    assert table["n"] == 4
    assert table["found"] == 0.75
    assert table["accuracy"] == 0.75
    assert table["recall"] == {"neutral": 0.5, "happiness": 1.0}
    assert table["macro_f1"] == pytest.approx((2 / 3 + 1) / 2, abs=1e-5)
    assert np.sum(table["confusion"]) == 3
    assert table["nll"] == pytest.approx((-3 * np.log(0.9) + np.log(8)) / 4, abs=1e-5)
    assert table["ece"] == pytest.approx(0.75 * 0.1, abs=1e-5)
    assert tabulate_coverage(predictions, faces)["precision_at_80"] == 0.75
    assert tabulate_coverage(predictions, faces)["risk_coverage"][-1] == [1.0, 0.25]


def test_the_neutral_share_and_the_raters_stand_beside_those_of_the_labels() -> None:
    faces = labelled([0, 0, 1, 1])
    predictions = Predictions(sure([0, 0, 0, 1]), np.ones(4, bool))
    table = tabulate_condition(predictions, faces)
    assert (table["neutral_share"], table["neutral_true_share"]) == (0.75, 0.5)
    assert "rater_agreement" not in table, "labels alone tell nothing of raters"
    votes = np.zeros((4, 8), np.uint8)
    votes[:, :2] = [[10, 0], [8, 2], [3, 7], [1, 9]]
    table = tabulate_condition(predictions, replace(faces, votes=votes))
    assert table["rater_agreement"] == pytest.approx((1 + 0.8 + 0.3 + 0.9) / 4)
    assert table["rater_labels"] == pytest.approx((1 + 0.8 + 0.7 + 0.9) / 4)


@pytest.mark.needs("data")
def test_a_rater_of_publictest_agrees_with_the_majority_in_83_of_100(data: Path) -> None:
    """0.830, counted apart from this code when the rules were written down."""
    faces = open_faces("ferplus:public")
    never = Predictions(np.eye(8, dtype=np.float32)[faces.labels], np.ones(len(faces), bool))
    assert tabulate_condition(never, faces)["rater_labels"] == pytest.approx(0.830, abs=5e-4)


def test_what_stands_in_a_row_that_was_not_found_does_not_matter() -> None:
    faces, found = labelled([0, 1, 2]), np.array([True, False, True])
    rows = sure([0, 1, 3])
    other = rows.copy()
    other[1] = 0
    tables = [tabulate_condition(Predictions(p, found), faces) for p in (rows, other)]
    assert tables[0] == tables[1]


def test_nobody_found() -> None:
    faces = labelled([0, 1, 1])
    predictions = Predictions(np.zeros((3, 8), np.float32), np.zeros(3, bool))
    table = tabulate_condition(predictions, faces)
    assert (table["accuracy"], table["macro_f1"], table["found"], table["ece"]) == (0, 0, 0, 0)
    assert table["nll"] == pytest.approx(np.log(8), abs=1e-5)
    assert tabulate_coverage(predictions, faces)["precision_at_80"] == 0
    json.dumps(table, allow_nan=False)


def test_seven_classes_with_weights_of_eight(tiny_card: ModelCard) -> None:
    """Weights may name more classes, in another order: the others' share is given back."""
    labels = ("contempt", *reversed(BASIC_SEVEN))
    faces = labelled([0, 6, 3], BASIC_SEVEN)
    assert find_columns(labels, faces).tolist() == [7, 6, 5, 4, 3, 2, 1]
    rows = np.array(
        [
            [0.6, 0, 0, 0, 0, 0, 0.1, 0.3],  # contempt is likeliest, but not asked for: neutral
            [0.0, 0.5, 0.5, 0, 0, 0, 0, 0],  # fear and disgust: fear is 6, disgust 5
            [0.2, 0, 0, 0, 0.8, 0, 0, 0],  # sadness
        ],
        np.float32,
    )
    predictions = predict(Table(replace(tiny_card, labels=labels), rows), faces)
    assert predictions.probabilities.shape == (3, 7)
    np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1, atol=1e-6)
    assert predictions.probabilities[0, 0] == pytest.approx(0.75)
    assert predictions.predicted.tolist() == [0, 5, 3]
    assert tabulate_condition(predictions, faces)["recall"] == {
        "neutral": 1.0,
        "sadness": 1.0,
        "fear": 0.0,
    }


def test_classes_that_the_weights_lack(tiny_card: ModelCard) -> None:
    faces = labelled([0], EMOTIONS)
    classifier = Table(replace(tiny_card, labels=BASIC_SEVEN), some_rows(1, 7))
    with pytest.raises(DataError, match="the weights know no 'contempt': made: evaluate weights"):
        predict(classifier, faces)


def test_faces_seen_in_training_have_a_line_without_them() -> None:
    faces = labelled([0, 1, 2, 3])
    predictions = Predictions(sure([0, 1, 2, 0]), np.ones(4, bool))
    assert "deduplicated" not in tabulate_condition(predictions, faces)
    faces = replace(faces, seen_in_training=np.array([True, True, False, False]))
    table = tabulate_condition(predictions, faces)
    assert (table["n"], table["accuracy"]) == (4, 0.75)
    assert (table["deduplicated"]["n"], table["deduplicated"]["accuracy"]) == (2, 0.5)
    everyone = replace(faces, seen_in_training=np.ones(4, bool))
    assert "deduplicated" not in tabulate_condition(predictions, everyone)


def test_precision_rises_as_coverage_falls(make_faces: MakeFaces) -> None:
    faces = make_faces(500)
    rng = np.random.default_rng(0)
    rows = some_rows(500)
    told = rng.uniform(size=500) < rows.max(axis=1)
    labels = np.where(told, rows.argmax(axis=1), (rows.argmax(axis=1) + 1) % 8)
    predictions = Predictions(rows, np.ones(500, bool))
    table = tabulate_coverage(predictions, replace(faces, labels=labels))
    coverage, risk = np.array(table["risk_coverage"]).T
    assert (np.diff(coverage) > 0).all()
    assert coverage[-1] == 1
    assert risk[-1] == pytest.approx(1 - told.mean(), abs=1e-5)
    assert risk[3] < risk[-1]
    assert table["precision_at_80"] > told.mean()


def test_the_skill_that_is_left() -> None:
    """Six of ten faces are neutral: naming everyone neutral is no skill at all."""
    labels = [0] * 6 + [1] * 4
    faces = replace(labelled(labels), seen_in_training=np.arange(10) == 9)
    everyone = np.ones(10, bool)
    clean = Predictions(sure([0] * 6 + [1] * 3 + [0]), everyone)  # 9 right; 9 of 9 without the last
    harmed = Predictions(sure([0] * 6 + [1, 0, 0, 0]), everyone)  # 7 right; 7 of 9
    table = tabulate_condition(harmed, faces, clean)
    assert table["retained"] == pytest.approx((0.7 - 0.6) / (0.9 - 0.6), abs=1e-5)
    left = (7 / 9 - 6 / 9) / (1 - 6 / 9)
    assert table["deduplicated"]["retained"] == pytest.approx(left, abs=1e-5)
    guess = Predictions(sure([0] * 10), everyone)
    assert tabulate_condition(guess, faces, clean)["retained"] == 0
    assert "retained" not in tabulate_condition(harmed, faces, guess)
    assert "retained" not in tabulate_condition(harmed, faces)


def test_faces_under_a_condition(make_faces: MakeFaces) -> None:
    faces = make_faces(5)
    assert np.array_equal(apply_condition(faces, "clean").tiles, faces.tiles)
    harmed = apply_condition(faces, "udc_p/3")
    assert np.array_equal(harmed.tiles, degrade(faces.tiles, faces.ids, "made", "udc_p/3"))
    assert np.array_equal(harmed.labels, faces.labels)
