"""The JSON of an evaluation: means over suites, retained skill, and a fair comparison."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.udc.suites import conditions
from trainer.compare.evaluate import Predictions
from trainer.compare.report import build_report, compare_with
from trainer.data.faceset import FaceSet

MakeFaces = Callable[..., FaceSet]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "w32.safetensors"
    path.write_bytes(b"weights")
    return path


def right(faces: FaceSet, share: float, found: bool = True) -> Predictions:
    """Names the first `share` of the faces right, and all others wrong."""
    n = len(faces)
    predicted = np.where(np.arange(n) < share * n, faces.labels, (faces.labels + 1) % 8)
    rows = np.full((n, 8), 0.1 / 7, np.float32)
    rows[np.arange(n), predicted] = 0.9
    return Predictions(rows, np.full(n, found))


def test_the_report(weights: Path, make_faces: MakeFaces) -> None:
    faces = make_faces(50)
    predictions = {"clean": right(faces, 1), "udc_p/3": right(faces, 0.5)}
    result = build_report(weights, faces, predictions, "flip", time.perf_counter())
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["weights"] == "w32"
    assert result["sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert (result["data"], result["protocol"], result["averaging"]) == ("made", "labels", "flip")
    clean, harmed = result["conditions"]["clean"], result["conditions"]["udc_p/3"]
    assert clean["accuracy"] == clean["macro_f1"] == 1
    assert "retained" not in clean
    prior = np.bincount(faces.labels).max() / 50
    assert harmed["retained"] == pytest.approx((0.5 - prior) / (1 - prior), abs=1e-5)
    assert result["mean"]["accuracy"] == 0.75
    assert result["mean"]["retained"] == harmed["retained"]
    assert result["means"] == {}
    assert result["coverage"]["precision_at_80"] == 1  # of the first condition
    assert 0 <= result["seconds"] < 60


def test_means_over_suites(weights: Path, make_faces: MakeFaces) -> None:
    faces = replace(make_faces(100), seen_in_training=np.arange(100) >= 80)
    shares = dict(zip(conditions("udc"), np.arange(1.0, 0.0, -0.1).round(1), strict=True))
    predictions = {cell: right(faces, share) for cell, share in shares.items()}
    result = build_report(weights, faces, predictions, "none", time.perf_counter())
    means = result["means"]
    assert list(means) == ["udc_t", "udc_p", "udc"]
    assert [means[name]["accuracy"] for name in means] == [0.8, 0.3, 0.55]
    assert result["mean"] == means["udc"]
    assert means["udc_t"]["deduplicated"]["accuracy"] == pytest.approx(
        np.mean([1, 1, 1, 70 / 80, 60 / 80]), abs=1e-4
    )
    assert "retained" not in means["udc"]
    del predictions["udc_t/2"]
    result = build_report(weights, faces, predictions, "none", time.perf_counter())
    assert list(result["means"]) == ["udc_p"]


def test_one_against_another_over_every_condition(weights: Path, make_faces: MakeFaces) -> None:
    faces = replace(make_faces(100), seen_in_training=np.arange(100) >= 80)
    cells = ("clean", *conditions("udc_p"))
    ours = {cell: right(faces, 0.9) for cell in cells}
    theirs = {cell: right(faces, 0.8) for cell in cells}
    theirs["udc_p/5"] = right(faces, 1, found=False)
    found = compare_with(weights, ours, theirs, faces)
    assert (found["weights"], found["sha256"]) == ("w32", hashlib.sha256(b"weights").hexdigest())
    assert found["conditions"]["clean"]["accuracy"] == 0.8
    assert found["conditions"]["clean"]["delta"] == 0.1
    low, high = found["conditions"]["clean"]["interval"]
    assert 0.03 < low < 0.1 < high < 0.17
    # The 80 faces that are not in Training were named right by both, but where nobody was found.
    assert found["conditions"]["clean"]["deduplicated"]["delta"] == 0
    assert found["conditions"]["udc_p/5"]["accuracy"] == 0
    assert found["delta"] == pytest.approx((5 * 0.1 + 0.9) / 6, abs=1e-5)
    assert found["means"]["udc_p"]["delta"] == pytest.approx((4 * 0.1 + 0.9) / 5, abs=1e-5)
    assert found["means"]["udc_p"]["mce"] == pytest.approx(5 * 0.1 / (4 * 0.2 + 1), abs=1e-4)


def test_the_face_is_the_unit(weights: Path, make_faces: MakeFaces) -> None:
    """Ten copies of one condition say no more than one: the interval does not shrink."""
    faces = make_faces(200)
    ours, theirs = right(faces, 0.6), right(faces, 0.55)
    once = compare_with(weights, {"clean": ours}, {"clean": theirs}, faces)
    cells = conditions("udc")
    again = compare_with(weights, dict.fromkeys(cells, ours), dict.fromkeys(cells, theirs), faces)
    assert again["interval"] == once["interval"]


def test_a_suite_without_an_error_to_compare_with(weights: Path, make_faces: MakeFaces) -> None:
    faces = make_faces(20)
    best = {cell: right(faces, 1) for cell in conditions("udc_p")}
    assert "mce" not in compare_with(weights, best, best, faces)["means"]["udc_p"]
