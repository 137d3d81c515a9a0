"""A table is fitted for weights that had none, changes nothing else, and is measured beside even
levels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.quality_levels import compare_levels, fit_table, open_with_table
from models.crops import GEOMETRY
from models.emodc.network import EmoDC
from models.emotions import EMOTIONS
from models.loading import load_classifier
from models.weights import ModelCard, save
from trainer.data.faceset import FaceSet

SETTINGS = {"width": 8, "dropout": 0.0, "steps": 2}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """An EmoDC of random weights, without a table."""
    torch.manual_seed(0)
    network = EmoDC(8, **SETTINGS)  # type: ignore[arg-type]
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.05 * torch.randn_like(value))
    card = ModelCard(
        *("tiny", "emodc", SETTINGS, EMOTIONS, 16, 1, (0.5,), (0.25,), GEOMETRY, "made", "none")
    )
    save(tmp_path / "w.safetensors", card, network.state_dict())
    return tmp_path / "w.safetensors"


def test_a_table_is_fitted_afterwards(weights: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (12, 6, 6), np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    faces = FaceSet.of_labels("made", EMOTIONS, tiles, rng.integers(0, 8, 12))
    network, card = open_with_table(str(weights))
    assert network.quality is not None
    unfitted = compare_levels(network, card, faces, ("clean",))
    assert unfitted["delta"] == 0
    card = fit_table(network, card, faces)
    assert network.quality.is_fitted
    found = compare_levels(network, card, faces, ("clean", "gauss_noise_x2/5"))
    assert list(found["accuracy"]) == ["clean", "gauss_noise_x2/5"]
    expected = found["mean"]["quality"] - found["mean"]["even"]
    assert found["delta"] == pytest.approx(expected, abs=2e-5)
    save(tmp_path / "out.safetensors", card, network.state_dict())
    assert load_classifier(str(tmp_path / "out.safetensors")).card.network["levels"] == "quality"


def test_other_weights() -> None:
    with pytest.raises(SystemExit, match="a resnet18, give an emodc"):
        open_with_table("resnet18-w36")
