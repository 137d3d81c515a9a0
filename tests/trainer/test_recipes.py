"""Presets are complete, and an unknown one is refused with the known."""

from __future__ import annotations

import pytest

from models.crops import GEOMETRY
from models.emotions import EMOTIONS
from models.loading import build_network
from models.weights import ModelCard
from trainer.errors import DataError
from trainer.loop import resolution_at
from trainer.recipes import PRESETS, preset


@pytest.mark.parametrize(("model", "name"), PRESETS)
def test_a_preset_builds_its_network_and_ends_at_full_size(model: str, name: str) -> None:
    recipe = preset(model, name)
    assert recipe.model == model
    card = ModelCard(
        *(name, recipe.model, recipe.network, EMOTIONS, recipe.input_px, recipe.channels),
        *(recipe.mean, recipe.std, GEOMETRY, "", ""),
    )
    assert sum(1 for _ in build_network(card).parameters()) > 10
    for stage in recipe.stages:
        assert resolution_at(stage, stage.epochs - 1) == recipe.input_px
        assert recipe.augment.erase_px[1] < recipe.input_px


def test_an_unknown_preset() -> None:
    with pytest.raises(DataError, match=r"no such preset: resnet18 huge: known are: resnet18 w32,"):
        preset("resnet18", "huge")
