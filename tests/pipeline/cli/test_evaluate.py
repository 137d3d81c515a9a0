"""`undercam evaluate` from weights and faces on disk to one JSON object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.crops import GEOMETRY
from models.emotions import EMOTIONS
from models.loading import build_network
from models.weights import ModelCard, save
from pipeline.cli.app import run
from pipeline.cli.evaluation_report import show
from trainer.compare.predictions import load_predictions


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "faces.npz"
    tiles = rng.integers(0, 256, (24, 48, 48), dtype=np.uint8)
    np.savez(path, image=tiles, label=np.arange(24) % 8)
    return path


def weights(folder: Path, name: str, seed: int) -> Path:
    torch.manual_seed(seed)
    network = {"width": 4, "stem_stride": 2}
    card = ModelCard(
        *(name, "resnet18", network, EMOTIONS, 48, 1, (0.5,), (0.25,), GEOMETRY, "made", "none")
    )
    path = folder / f"{name}.safetensors"
    save(path, card, build_network(card).state_dict())
    return path


def evaluate(capsys: pytest.CaptureFixture[str], *options: object) -> dict[str, Any]:
    assert run(["evaluate", *map(str, options), "--json"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    return json.loads(printed)


def test_conditions_comparison_and_what_is_kept(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, faces: Path
) -> None:
    a, b = weights(tmp_path, "a", 1), weights(tmp_path, "b", 2)
    kept = tmp_path / "kept"
    options = ("--weights", a, "--data", f"npz:{faces}", "--against", b, "--save-predictions", kept)
    result = evaluate(capsys, *options, "--conditions", "udc_p,gauss_blur_x1/2,clean")
    cells = ["clean", *(f"udc_p/{s}" for s in range(1, 6)), "gauss_blur_x1/2"]
    assert list(result["conditions"]) == cells
    assert list(result["means"]) == ["udc_p"]
    assert list(result["against"]["conditions"]) == cells
    assert result["against"]["weights"] == "b"
    files = [load_predictions(path) for path in kept.iterdir()]
    assert len(files) == 2 * len(cells)
    for file in files:
        if file.about["weights"] == "a":
            told = result["conditions"][file.about["condition"]]["accuracy"]
            assert np.mean(file.predictions.predicted == file.faces.labels) == pytest.approx(told)
    again = evaluate(capsys, *options, "--conditions", "udc_p/3")
    for key in ("accuracy", "nll", "confusion"):
        assert again["conditions"]["udc_p/3"][key] == result["conditions"]["udc_p/3"][key]
    assert len(list(kept.iterdir())) == len(files)


def test_through_a_video_under_a_panel(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, faces: Path
) -> None:
    """Nobody is found in noise: the way is whole, and says so."""
    options = ("--weights", weights(tmp_path, "a", 1), "--data", f"npz:{faces}", "--limit", 1)
    result = evaluate(capsys, *options, "--end-to-end", "--conditions", "udc_t/2")
    assert list(result["conditions"]) == ["udc_t/2"]
    assert result["end_to_end"]["detector"] == "centerface"
    assert result["end_to_end"]["found"] == 0
    assert result["conditions"]["udc_t/2"]["accuracy"] == 0


def test_tables_for_a_person(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, faces: Path
) -> None:
    a = weights(tmp_path, "a", 1)
    options = ["--weights", str(a), "--data", f"npz:{faces}", "--against", str(a)]
    assert run(["evaluate", *options, "--conditions", "clean,udc_t"]) == 0
    printed = capsys.readouterr().out
    for words in ("udc_t/5", "retained", "against a", "+0.00 .. +0.00", "mCE"):
        assert words in printed
    shown = printed.split("recall of each class, %")[1].splitlines()
    row = next(line for line in shown if "clean" in line)
    assert row.count("│") == 8 + 2, "the name and eight classes"


def test_a_person_sees_what_the_labels_themselves_would_reach(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recall = {"neutral": 0.91, "anger": 0.27}
    figures = {"accuracy": 0.6, "macro_f1": 0.4, "ece": 0.1, "nll": 1.0, "recall": recall}
    figures |= {"rater_agreement": 0.54, "rater_labels": 0.8301}
    figures |= {"neutral_share": 0.681, "neutral_true_share": 0.3695}
    head = {"weights": "w", "data": "d", "protocol": "p", "n": 5, "averaging": "flip"}
    show(head | {"conditions": {"c": figures}, "means": {}, "coverage": {"precision_at_80": 0.9}})
    printed = capsys.readouterr().out
    for words in ("54.0%", "68.1%", "the labels themselves: rater 83.01%, neutral 36.95%", "27"):
        assert words in printed


def test_a_blur_has_no_video(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options = ["--weights", "x", "--end-to-end", "--conditions", "fer_nb"]
    assert run(["evaluate", *options]) == 2
    assert "no panel in 'gauss_noise_x1/1'" in capsys.readouterr().err
