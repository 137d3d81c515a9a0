"""A family of models is four files: network, one line of the registry, objective, presets."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import trainer.objectives
import trainer.presets
from models import registry
from models.export import TOLERANCE, export
from models.loading import load_classifier
from models.registry import Family
from trainer import run
from trainer.compare.evaluate import mark_correct, predict
from trainer.objectives import find_objective
from trainer.presets import find_preset
from trainer.run import toy_faces, train_weights

OBJECTIVE = """
from torch.nn import functional

from trainer.objectives.softmax import SoftmaxObjective


class SquaredError(SoftmaxObjective):
    def __init__(self, recipe, card, weight=1.0):
        super().__init__(recipe, card)
        self.weight = weight

    def loss(self, stage, batch):
        shares = functional.softmax(self.network(batch.x).float(), dim=1)
        return self.weight * functional.mse_loss(shares, batch.targets)


OBJECTIVE = SquaredError
"""
PRESETS = """
from trainer.presets import add_udc_variants
from trainer.recipes import Recipe, Stage

STAGES = (Stage("fit", epochs=6, batch=32, lr=1e-2),)
TINY = Recipe("toy-net", {"width": 8}, STAGES, objective={"weight": 50.0})
PRESETS = add_udc_variants({"tiny": TINY})
"""


class ToyNet(nn.Module):
    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 5, 4)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width * 11 * 11, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.relu(self.norm(self.stem(x))).flatten(1))
        return logits


@pytest.fixture
def toy_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The four, put where a family's files would lie; no shared file knows them."""
    for package, text in ((trainer.objectives, OBJECTIVE), (trainer.presets, PRESETS)):
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / "toy_net.py").write_text(text, encoding="utf-8")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        monkeypatch.delitem(sys.modules, f"{package.__name__}.toy_net", raising=False)
    monkeypatch.setitem(registry.FAMILIES, "toy-net", Family(ToyNet))


@pytest.mark.usefixtures("toy_family")
def test_it_trains_serves_and_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "select_dtype", lambda threads: torch.float32)
    monkeypatch.setattr(run, "keep_freed_memory", lambda: None)
    recipe = find_preset("toy-net", "tiny")
    assert find_objective("toy-net", recipe.objective).__name__ == "SquaredError"
    out = tmp_path / "toy.safetensors"
    card = train_weights("toy", recipe, toy_faces(), 0, out, tmp_path / "run")
    assert (card.model, card.recipe["objective"]) == ("toy-net", {"weight": 50.0})
    others = toy_faces(300, seed=1)
    predictions = predict(load_classifier(str(out)), others)
    assert mark_correct(predictions, others).mean() >= 0.5  # of eight classes
    assert np.allclose(predictions.probabilities.sum(axis=1), 1, atol=1e-5)
    assert export(str(out), tmp_path / "toy.onnx") <= TOLERANCE


@pytest.mark.usefixtures("toy_family")
def test_it_has_the_presets_behind_displays_too() -> None:
    assert find_preset("toy-net", "tiny-udc").panel is not None
