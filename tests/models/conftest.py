"""One photograph, one card, and the crops of it that the tests of models share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.data import astronaut

from models.crops import CROP_PX, GEOMETRY
from models.emotions import EMOTIONS
from models.weights import ModelCard


@pytest.fixture(scope="session")
def photograph() -> NDArray[np.uint8]:
    """(512, 512, 3) RGB: one woman, looking at us."""
    image: NDArray[np.uint8] = astronaut()
    return image


@pytest.fixture(scope="session")
def make_card() -> Callable[..., ModelCard]:
    """A card of a tiny network; keyword arguments change its fields."""

    def make(**changes: Any) -> ModelCard:
        fields: dict[str, Any] = {
            "name": "tiny",
            "model": "resnet18",
            "network": {"width": 4, "stem_stride": 2},
            "labels": EMOTIONS,
            "input_px": 48,
            "channels": 1,
            "mean": (0.5,) * changes.get("channels", 1),
            "std": (0.25,) * changes.get("channels", 1),
            "crop": GEOMETRY,
            "data": "made",
            "data_terms": "none",
        }
        return ModelCard(**(fields | changes))

    return make


@pytest.fixture(scope="session")
def crops() -> NDArray[np.uint8]:
    """(5, 112, 112, 3) of noise, coarse and fine, whose contrast is that of a face at any size."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(30, 226, (5, 7, 7, 3)).repeat(CROP_PX // 7, axis=1)
    coarse = coarse.repeat(CROP_PX // 7, axis=2)
    fine = rng.integers(-30, 31, coarse.shape)
    return (coarse + fine).astype(np.uint8)
