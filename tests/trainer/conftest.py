"""What the trainer's tests share: FER+ read once, a tiny recipe, and faces to learn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.crops import GEOMETRY
from models.emotions import EMOTIONS
from models.weights import ModelCard
from trainer.data.faceset import FaceSet
from trainer.recipes import Augment, Recipe, Stage

STILL = Augment(0, 0, 0, 0, 0, 0, (0, 0))


@pytest.fixture(scope="session")
def still() -> Augment:
    """Changes nothing but left and right."""
    return STILL


@pytest.fixture(scope="session")
def make_recipe() -> Callable[..., Recipe]:
    """Two epochs of a network that takes milliseconds, with dropout and every augmentation;
    keyword arguments change the stage, `recipe` the recipe."""

    def make(recipe: dict[str, Any] | None = None, **stage: Any) -> Recipe:
        network = {"width": 8, "stem_stride": 2, "dropout": 0.3}
        only = replace(Stage("fit", epochs=2, batch=16, resolution=((0.0, 24),)), **stage)
        augment = Augment(erase_px=(3, 8))
        made = Recipe("resnet18", network, (only,), input_px=24, augment=augment)
        return replace(made, **(recipe or {}))

    return make


@pytest.fixture(scope="session")
def tiny_card(make_recipe: Callable[..., Recipe]) -> ModelCard:
    """The card that goes with `make_recipe`."""
    recipe = make_recipe()
    return ModelCard(
        *("tiny", recipe.model, recipe.network, EMOTIONS, recipe.input_px, recipe.channels),
        *((recipe.mean,), (recipe.std,), GEOMETRY, "made", "none"),
    )


@pytest.fixture(scope="session")
def make_faces() -> Callable[..., FaceSet]:
    """n faces of noise with labels drawn at random."""

    def make(n: int = 40, seed: int = 0, classes: tuple[str, ...] = EMOTIONS) -> FaceSet:
        rng = np.random.default_rng(seed)
        tiles = rng.integers(0, 256, (n, 48, 48), dtype=np.uint8)
        return FaceSet.of_labels("made", classes, tiles, rng.integers(0, len(classes), n))

    return make
