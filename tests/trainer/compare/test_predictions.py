"""Predictions saved in a file give the figures that they gave before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.errors import UndercamError
from models.weights import ModelCard, save
from trainer.compare.evaluate import Predictions, tabulate_condition, tabulate_coverage
from trainer.compare.predictions import (
    describe_evaluation,
    load_predictions,
    save_predictions,
    to_half,
)
from trainer.data.faceset import FaceSet
from trainer.errors import DataError

MakeFaces = Callable[..., FaceSet]


@pytest.fixture
def faces(make_faces: MakeFaces) -> FaceSet:
    rng = np.random.default_rng(1)
    ids = rng.permutation(10_000)[:300]
    votes = rng.integers(0, 10, (300, 8)).astype(np.uint8)
    seen = rng.uniform(size=300) < 0.1
    return replace(make_faces(300), ids=ids, seen_in_training=seen, votes=votes)


@pytest.fixture
def about(tmp_path: Path, tiny_card: ModelCard, faces: FaceSet) -> dict[str, object]:
    weights = tmp_path / "w.safetensors"
    save(weights, tiny_card, {"a": torch.zeros(1)})
    return describe_evaluation(weights, faces, "flip", "tiles")


def predictions_of(faces: FaceSet) -> Predictions:
    rng = np.random.default_rng(2)
    rows = rng.dirichlet(np.full(8, 0.4), len(faces)).astype(np.float32)
    found = rng.uniform(size=len(faces)) < 0.9
    rows[~found] = 0
    return Predictions(rows, found)


def test_every_figure_can_be_made_again(
    tmp_path: Path, faces: FaceSet, about: dict[str, object]
) -> None:
    predictions = predictions_of(faces)
    path = save_predictions(tmp_path / "saved", about, "udc_p/3", predictions, faces)
    saved = load_predictions(path)
    assert saved.about == about | {"condition": "udc_p/3"}
    assert saved.about["card"]["model"] == "resnet18"
    assert np.array_equal(saved.predictions.predicted, predictions.predicted)
    for name in ("name", "protocol", "classes"):
        assert getattr(saved.faces, name) == getattr(faces, name)
    for name in ("labels", "ids", "seen_in_training", "votes"):
        assert np.array_equal(getattr(saved.faces, name), getattr(faces, name))
    before, after = (
        tabulate_condition(predictions, faces),
        tabulate_condition(saved.predictions, saved.faces),
    )
    for key in ("n", "accuracy", "macro_f1", "confusion", "found", "recall", "rater_agreement"):
        assert after[key] == before[key]
    assert after["nll"] == pytest.approx(before["nll"], abs=2e-3)
    assert after["ece"] == pytest.approx(before["ece"], abs=2e-3)
    assert after["deduplicated"]["accuracy"] == before["deduplicated"]["accuracy"]
    assert tabulate_coverage(saved.predictions, saved.faces)["precision_at_80"] == pytest.approx(
        tabulate_coverage(predictions, faces)["precision_at_80"], abs=0.01
    )
    assert path.stat().st_size < 300 * 40


def test_one_file_for_each_evaluation(
    tmp_path: Path, faces: FaceSet, about: dict[str, object]
) -> None:
    predictions, folder = predictions_of(faces), tmp_path / "saved"
    first = save_predictions(folder, about, "clean", predictions, faces)
    assert save_predictions(folder, about, "clean", predictions, faces) == first
    for key in ("sha256", "averaging", "way", "protocol", "data"):
        save_predictions(folder, about | {key: "other"}, "clean", predictions, faces)
    save_predictions(folder, about, "udc_p/1", predictions, faces)
    assert len(list(folder.iterdir())) == 7
    assert "udc-p-1" in " ".join(path.name for path in folder.iterdir())


def near_ties() -> NDArray[np.float32]:
    rows = np.random.default_rng(0).dirichlet(np.ones(8), 500).astype(np.float32)
    best = rows.argmax(axis=1)
    rows[np.arange(500), (best + 3) % 8] = rows.max(axis=1) * np.float32(0.99999)
    return rows


def test_a_near_tie_keeps_its_winner() -> None:
    rows = near_ties()
    assert (rows.astype(np.float16).argmax(axis=1) != rows.argmax(axis=1)).any()
    half = to_half(rows)
    assert half.dtype == np.float16
    assert np.array_equal(half.argmax(axis=1), rows.argmax(axis=1))
    np.testing.assert_allclose(half, rows, rtol=2e-3)


def test_a_folder_that_cannot_be(tmp_path: Path, faces: FaceSet, about: dict[str, object]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(UndercamError, match="cannot write"):
        save_predictions(blocked, about, "clean", predictions_of(faces), faces)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 no zip"])
def test_other_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"not saved predictions: .*other.npz"):
        load_predictions(path)


def test_an_npz_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    np.savez(path, image=np.zeros(3))
    with pytest.raises(DataError, match="not saved predictions"):
        load_predictions(path)
    np.savez(path, about=np.array('{"classes": ["a"], "data": "x", "protocol": "y"}'))
    with pytest.raises(DataError, match="not saved predictions"):
        load_predictions(path)
