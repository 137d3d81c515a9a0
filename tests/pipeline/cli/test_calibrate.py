"""`undercam calibrate` from weights and labelled faces on disk to new weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.crops import GEOMETRY
from models.emotions import EMOTIONS
from models.loading import build_network, load_classifier
from models.weights import ModelCard, read_card, read_state, save
from pipeline.cli.app import run
from trainer.compare.evaluate import predict, tabulate_condition
from trainer.data.readers import open_faces


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Half of them neutral."""
    rng = np.random.default_rng(0)
    path = tmp_path / "faces.npz"
    tiles = rng.integers(0, 256, (64, 48, 48), dtype=np.uint8)
    np.savez(path, image=tiles, label=np.where(np.arange(64) % 2, np.arange(64) // 2 % 8, 0))
    return path


def make_weights(folder: Path, recipe: dict[str, Any] | None = None) -> Path:
    torch.manual_seed(0)
    sizes = {"width": 4, "stem_stride": 2}
    card = ModelCard(
        *("made", "resnet18", sizes, EMOTIONS, 48, 1, (0.5,), (0.25,), GEOMETRY, "made", "none"),
        recipe=recipe or {"panel": None},
    )
    path, network = folder / "made.safetensors", build_network(card)
    with torch.no_grad():
        network.head.bias[0] = network.head.bias.max() + 0.02  # type: ignore[union-attr,index,operator]
    save(path, card, network.state_dict())
    return path


def calibrate(capsys: pytest.CaptureFixture[str], *options: object) -> dict[str, Any]:
    assert run(["calibrate", *map(str, options), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_confidence_is_fitted_and_the_network_stays(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, faces: Path
) -> None:
    old, out = make_weights(tmp_path), tmp_path / "new.safetensors"
    result = calibrate(capsys, "--weights", old, "--data", f"npz:{faces}", "--out", out)
    before, after = read_state(old), read_state(out)
    assert all(torch.equal(before[name], after[name]) for name in before)
    card = read_card(out)
    assert result["temperature"] == card.temperature != read_card(old).temperature
    labelled = open_faces(f"npz:{faces}")
    tables = [
        tabulate_condition(predict(load_classifier(str(path)), labelled), labelled)
        for path in (old, out)
    ]
    assert tables[1]["nll"] < tables[0]["nll"]
    (metrics,) = card.metrics.values()
    assert metrics == tables[1] == next(iter(result["metrics"].values()))


def test_an_adjusted_network_says_the_frequent_class_less_often(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, faces: Path
) -> None:
    old = make_weights(tmp_path)
    shares = []
    for weight in (0, 0.5, 1):
        out = tmp_path / f"{weight}.safetensors"
        options = ("--weights", old, "--data", f"npz:{faces}", "--out", out)
        result = calibrate(capsys, *options, "--logit-adjustment", weight)
        (metrics,) = result["metrics"].values()
        shares.append(metrics["neutral_share"])
        assert read_card(out).recipe.get("logit_adjustment", 0) == weight
    assert shares == sorted(shares, reverse=True)
    assert shares[2] < shares[0]
    changed = [
        name
        for name, value in read_state(old).items()
        if not torch.equal(value, read_state(tmp_path / "1.safetensors")[name])
    ]
    assert len(changed) == 1
    assert changed[0].endswith("bias")


def test_weights_for_displays_are_measured_under_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, faces: Path
) -> None:
    old, out = make_weights(tmp_path, {"panel": {"real": 0.2}}), tmp_path / "new.safetensors"
    result = calibrate(capsys, "--weights", old, "--data", f"npz:{faces}", "--out", out)
    suites = [name.split(", ")[1] for name in result["metrics"]]
    assert suites == ["horizontal-flip TTA", "udc", "udc_real"]
