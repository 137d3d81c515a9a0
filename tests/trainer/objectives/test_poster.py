"""The rival learns landmarks first, leaves them, and is trained as any other network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from models.loading import build_network
from models.weights import ModelCard, read_state
from trainer.data.faceset import FaceSet
from trainer.loop import train
from trainer.objectives import build_objective
from trainer.objectives.base import Batch
from trainer.objectives.lrdif.poster import PosterObjective
from trainer.recipes import Recipe
from trainer.samples import SampleTable

Made = tuple[Recipe, ModelCard]
Keep = Callable[[FaceSet, Path], None]


@pytest.fixture
def made(make_lrdif: Callable[..., Made]) -> Made:
    recipe, card = make_lrdif("poster", stages=("points", "fit"))
    settings = {name: value for name, value in recipe.network.items() if name != "prior"}
    network = {"network": settings}
    return Recipe(**(recipe.__dict__ | network)), ModelCard(**(card.__dict__ | network))


def objective_of(made: Made) -> PosterObjective:
    torch.manual_seed(0)
    objective = build_objective(*made)
    assert isinstance(objective, PosterObjective)
    return objective


@pytest.mark.parametrize("stage", ["points", "fit"])
def test_what_a_stage_moves_gets_a_gradient(
    made: Made, batch: Batch, make_faces: Callable[..., FaceSet], keep_made_points: Keep,
    tmp_path: Path, stage: str,
) -> None:  # fmt: skip
    objective = objective_of(made)
    keep_made_points(make_faces(16), tmp_path)
    objective.prepare(SampleTable.of(make_faces(16)), make_faces(16), tmp_path)
    objective.start_stage(stage)
    given = {id(value) for value in objective.parameters(stage)}
    landmarks = {id(value) for value in objective.network.former.dil.landmarks.parameters()}
    everything = {id(value) for value in objective.network.parameters()}
    assert given == (landmarks if stage == "points" else everything - landmarks)
    objective.loss(stage, batch).backward()  # type: ignore[no-untyped-call]
    assert {id(v) for v in objective.network.parameters() if v.grad is not None} == given


def test_its_answers_are_one_forward(made: Made, batch: Batch) -> None:
    objective = objective_of(made)
    objective.start_stage("fit")
    objective.network.eval()
    logits = objective.network(batch.x)
    assert torch.equal(objective.logits("fit", batch.x, batch.rows.numpy()), logits)  # type: ignore[arg-type]
    wanted = -(batch.targets * functional.log_softmax(logits, dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(objective.loss("fit", batch), wanted)


def test_landmarks_stay_after_their_stage(
    made: Made, make_faces: Callable[..., FaceSet], keep_made_points: Keep, tmp_path: Path
) -> None:
    recipe, card = made
    keep_made_points(make_faces(32), tmp_path)
    trained = train(recipe, card, make_faces(32), make_faces(8, seed=1), 0, tmp_path)
    build_network(card).load_state_dict(trained.state)
    points = read_state(tmp_path / "points.safetensors")
    kept = [name for name in trained.state if ".landmarks." in name]
    assert any(name.endswith("running_var") for name in kept)
    for name in kept:
        assert torch.equal(trained.state[name], points[f"average/{name}"])
    for name in ("former.head.weight", "former.dil.stages.0.0.norm1.running_mean"):
        assert not torch.equal(trained.state[name], points[f"average/{name}"])
