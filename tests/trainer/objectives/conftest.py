"""A small LRDif to train, the faces' landmarks made up, and batches without a loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.crops import GEOMETRY
from models.emotions import EMOTIONS
from models.weights import ModelCard, State
from trainer.data.faceset import FaceSet
from trainer.objectives.base import Batch
from trainer.objectives.points import points_path
from trainer.recipes import Recipe, Stage

STAGES = ("points", "s1", "s2a", "s2")
SMALL: dict[str, Any] = {
    "prior": 12,
    "input_px": 16,
    "widths": [8, 16, 32],
    "dt_widths": [8, 16, 32],
    "width": 16,
    "dropout": 0.0,
}
Made = tuple[Recipe, ModelCard]


@pytest.fixture(scope="session")
def make_lrdif() -> Callable[..., Made]:
    """A recipe of all four stages, and its card; keyword arguments change the network, `model` and
    `objective` the recipe."""

    def make(
        model: str = "lrdif",
        objective: dict[str, float] | None = None,
        stages: tuple[str, ...] = STAGES,
        epochs: int = 1,
        **network: Any,
    ) -> Made:
        settings = SMALL | network
        px = settings["input_px"]
        staged = tuple(
            Stage(name, epochs, batch=16, lr=2e-3, resolution=((0.0, px),)) for name in stages
        )
        recipe = Recipe(model, settings, staged, input_px=px, objective=objective or {})
        return recipe, ModelCard(
            *("tiny", model, settings, EMOTIONS, px, 1, (0.5,), (0.25,), GEOMETRY, "made", "none")
        )

    return make


@pytest.fixture
def keep_made_points() -> Callable[[FaceSet, Path], None]:
    """Leaves landmarks in a run directory as the detector would, of four faces in five."""

    def keep(faces: FaceSet, run_dir: Path) -> None:
        rng = np.random.default_rng(7)
        points = rng.uniform(0.2, 0.8, (len(faces), 5, 2)).astype(np.float32)
        run_dir.mkdir(parents=True, exist_ok=True)
        np.savez(points_path(faces, run_dir), points=points, found=np.arange(len(faces)) % 5 > 0)

    return keep


@pytest.fixture
def batch() -> Batch:
    """Sixteen faces of noise with votes."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(16, 1, 16, 16, generator=generator)
    votes = torch.randint(0, 4, (16, 8), generator=generator).float() + 0.1
    still = torch.tensor([[1.0, 0, 0], [0, 1, 0]]).expand(16, 2, 3)
    return Batch(x, votes / votes.sum(dim=1, keepdim=True), still, torch.arange(16))


@pytest.fixture
def moved() -> Callable[[State, State], set[str]]:
    """Tells the parts of a state, their names three deep, of which any number has changed."""

    def parts(before: State, after: State) -> set[str]:
        changed = (name for name in before if not torch.equal(before[name], after[name]))
        return {".".join(name.split(".")[:3]) for name in changed}

    return parts
