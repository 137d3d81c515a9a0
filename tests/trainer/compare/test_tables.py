"""The table of models from saved predictions: figures, fair comparisons, and what is left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch

from models.udc.suites import CLEAN, UDC, conditions
from models.weights import ModelCard, save
from trainer.compare.evaluate import Predictions
from trainer.compare.predictions import describe_evaluation, save_predictions
from trainer.compare.tables import (
    Evaluation,
    build_rows,
    compare_models,
    load_evaluations,
    measure_agreement,
)
from trainer.data.faceset import FaceSet
from trainer.errors import DataError
from trainer.recipes import RandomPanel, Stage

CELLS = (CLEAN, *conditions("udc_t,udc_p"))
N = 200


@pytest.fixture
def keep(
    tmp_path: Path, tiny_card: ModelCard, make_faces: Callable[..., FaceSet]
) -> Callable[..., Path]:
    """Keep predictions of a made model that names a share of the faces right, in the folder."""
    faces = make_faces(N)
    faces = replace(faces, seen_in_training=np.arange(N) % 10 == 0)
    folder = tmp_path / "saved"

    def write_all(
        name: str,
        model: str,
        share: float,
        panel: bool = True,
        n: int = N,
        epochs: int = 5,
        **network: Any,
    ) -> Path:
        landmarks = [asdict(Stage("points", 9))] if model in ("lrdif", "poster") else []
        stages = [*landmarks, asdict(Stage("fit", epochs))]
        recipe: dict[str, Any] = {"seed": 1, "panel": asdict(RandomPanel()) if panel else None}
        recipe["stages"] = stages
        weights = tmp_path / f"{name}.safetensors"
        card = replace(tiny_card, name=name, model=model, recipe=recipe, network=network)
        save(weights, card, {"a": torch.full((1,), share)})
        about = describe_evaluation(weights, faces[:n], "flip", "tiles")
        right = np.arange(n) < share * n
        predicted = np.where(right, faces.labels[:n], (faces.labels[:n] + 1) % 8)
        predictions = Predictions(np.eye(8, dtype=np.float32)[predicted], np.ones(n, bool))
        for cell in CELLS:
            save_predictions(folder, about, cell, predictions, faces[:n])
        return folder

    return write_all


def test_a_row_says_each_suite_with_and_without_duplicates(keep: Callable[..., Path]) -> None:
    (row,) = build_rows(load_evaluations(keep("lrdif-cpu", "lrdif", 0.75)))
    assert (row["weights"], row["n"], row["seed"], row["panel"]) == ("lrdif-cpu", N, 1, True)
    assert (row["epochs"], row["teachers"]) == (5, [])
    for name in (CLEAN, "udc_t", "udc_p", UDC):
        assert row[name] == 0.75
        assert row[f"{name}, new faces"] == pytest.approx(0.75, abs=0.001)


def test_a_row_has_the_macro_f1_and_the_neutral_share_of_each_suite(
    keep: Callable[..., Path],
) -> None:
    (one,) = load_evaluations(keep("lrdif-cpu", "lrdif", 0.75))
    (row,) = build_rows([one])
    predicted = one.predictions["udc_t/1"].predicted
    f1 = sklearn.metrics.f1_score(one.faces.labels, predicted, average="macro")
    assert row["udc_t, macro F1"] == row["clean, macro F1"] == pytest.approx(f1, abs=1e-5)
    assert row["udc, neutral"] == pytest.approx(float((predicted == 0).mean()), abs=1e-5)
    assert row["neutral_true_share"] == pytest.approx(float((one.faces.labels == 0).mean()))


def test_a_suite_that_is_not_whole_has_no_mean(keep: Callable[..., Path]) -> None:
    folder = keep("lrdif-cpu", "lrdif", 0.75)
    next(folder.glob("*udc-t-3*")).unlink()
    (row,) = build_rows(load_evaluations(folder))
    assert row["udc_p"] == 0.75
    assert "udc_t" not in row
    assert UDC not in row
    assert row["udc_t/2"] == 0.75, "a cell of no whole suite stands for itself"
    assert not any(name in row for name in ("udc_t/3", "udc_p/1"))


def test_rows_stand_in_the_order_of_their_numbers(keep: Callable[..., Path]) -> None:
    for name in ("x", "t16", "t2", "t1", "s"):
        folder = keep(name, "lrdif", 0.75)
    assert [row["weights"] for row in build_rows(load_evaluations(folder))] == [
        "s",
        "t1",
        "t2",
        "t16",
        "x",
    ]


def test_one_condition_has_a_p_value_and_a_mean_of_many_none(keep: Callable[..., Path]) -> None:
    keep("lrdif-cpu", "lrdif", 0.8)
    folder = keep("w32", "resnet18", 0.7)
    (clean,) = compare_models(load_evaluations(folder), "lrdif", CLEAN)
    assert clean["mcnemar_p"] < 1e-4, "twenty faces of 200 are right with one alone"
    (behind,) = compare_models(load_evaluations(folder), "lrdif", UDC)
    assert "mcnemar_p" not in behind


def test_weights_are_compared_on_the_same_faces_by_face(keep: Callable[..., Path]) -> None:
    keep("lrdif-cpu", "lrdif", 0.8)
    folder = keep("w32", "resnet18", 0.7)
    (gain,) = compare_models(load_evaluations(folder), "lrdif", UDC)
    assert (gain["weights"], gain["against"]) == ("lrdif-cpu", "w32")
    assert gain["delta"] == pytest.approx(0.1)
    low, high = gain["interval"]
    assert 0 < low < 0.1 < high < 0.2
    assert gain["deduplicated"]["delta"] == pytest.approx(0.1, abs=0.001)
    assert (gain["data"], gain["averaging"], gain["way"], gain["n"]) == ("made", "flip", "tiles", N)
    assert gain["panel"]
    assert gain["learned_alike"]


def test_unequal_budgets_are_marked(keep: Callable[..., Path]) -> None:
    keep("lrdif-cpu", "lrdif", 0.8)
    (gain,) = compare_models(load_evaluations(keep("w32", "resnet18", 0.7, epochs=4)), "lrdif", UDC)
    assert not gain["learned_alike"]


def test_diffusion_is_compared_with_what_stands_in_its_place(keep: Callable[..., Path]) -> None:
    keep("lrdif-cpu", "lrdif", 0.8)
    keep("mlp", "lrdif", 0.7, restorer="mlp")
    keep("t1", "lrdif", 0.7, steps=1)
    keep("t8", "lrdif", 0.7, steps=8)  # a point of the sweep, and no control
    folder = keep("wide", "lrdif", 0.7, restorer="mlp", width=200)  # of another network
    gains = compare_models(load_evaluations(folder), "lrdif", CLEAN)
    pairs = [(gain["weights"], gain["against"]) for gain in gains]
    assert pairs == [("lrdif-cpu", "mlp"), ("lrdif-cpu", "t1")]


def test_a_control_is_compared_with_no_baseline(keep: Callable[..., Path]) -> None:
    keep("mlp", "lrdif", 0.8, restorer="mlp")
    assert compare_models(load_evaluations(keep("w32", "resnet18", 0.7)), "lrdif", CLEAN) == []


def test_what_learned_otherwise_or_saw_other_faces_is_never_compared(
    keep: Callable[..., Path],
) -> None:
    keep("lrdif-cpu", "lrdif", 0.8)
    keep("w32-clean", "resnet18", 0.7, panel=False)
    folder = keep("w32-few", "resnet18", 0.7, n=N // 2)
    assert compare_models(load_evaluations(folder), "lrdif", UDC) == []


def test_agreement_counts_equal_predictions(keep: Callable[..., Path]) -> None:
    (one,) = load_evaluations(keep("lrdif-cpu", "lrdif", 0.8))
    few = 50
    other = one.predictions[CLEAN].probabilities[:few].copy()
    other[:5] = np.roll(other[:5], 1, axis=1)
    again = Predictions(other, np.ones(few, bool))
    first = one.faces[np.arange(N) < few]
    assert measure_agreement(one, Evaluation(one.about, first, {CLEAN: again})) == {CLEAN: 0.9}


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no saved predictions.*evaluate --save-predictions"):
        load_evaluations(tmp_path)
