"""LRDif with a panel prior: Z is the display's, whatever the face, and is restored from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from models.crops import GEOMETRY
from models.emotions import EMOTIONS
from models.udc.description import describe_panels
from models.udc.suites import P_OLED, T_OLED
from models.weights import ModelCard
from trainer.batches import AugmentedBatches
from trainer.data.faceset import FaceSet
from trainer.errors import OptionError
from trainer.objectives import build_objective
from trainer.objectives.base import Batch
from trainer.objectives.lrdif.lrdif_panel import LRDifPanelObjective
from trainer.presets import find_preset
from trainer.recipes import RandomPanel, Recipe, Stage


def make_panel_recipe(**objective: Any) -> tuple[Recipe, ModelCard]:
    network = {"trunk": 8, "prior": 16, "dropout": 0.0}
    recipe = Recipe(
        *("lrdif", network, (Stage("s1", 1, batch=16), Stage("s2", 1, batch=16))),
        panel=RandomPanel(share=0.5),
        objective={"name": "lrdif-panel", "label": 0.0} | objective,
    )
    return recipe, ModelCard(
        *("tiny", "lrdif", network, EMOTIONS, 48, 1, (0.5,), (0.25,), GEOMETRY, "made", "none")
    )


def build(**objective: Any) -> LRDifPanelObjective:
    torch.manual_seed(0)
    built = build_objective(*make_panel_recipe(**objective))
    assert isinstance(built, LRDifPanelObjective)
    built.network.train()
    return built


def draw_batch(faces: FaceSet, share: float) -> Batch:
    """All faces, a share of them under displays; at any share the same views of them."""
    recipe, card = make_panel_recipe()
    batches = AugmentedBatches(faces, card, replace(recipe, panel=RandomPanel(share=share)))
    return batches(torch.arange(len(faces)), 48, torch.Generator().manual_seed(1))


@pytest.fixture
def batch(make_faces: Callable[..., FaceSet]) -> Batch:
    return draw_batch(make_faces(32), share=0.5)


def test_a_batch_says_which_faces_are_under_a_display(
    batch: Batch, make_faces: Callable[..., FaceSet]
) -> None:
    clean = draw_batch(make_faces(32), share=0.0)
    is_changed = (batch.x - clean.x).abs().amax(dim=(1, 2, 3)) > 0
    assert batch.displays is not None
    assert 5 < int(is_changed.sum()) < 27
    assert torch.equal(batch.displays[:, 0] == 1, is_changed)
    assert not batch.displays[~is_changed].any()


def test_z_is_of_the_display_alone(batch: Batch) -> None:
    objective = build()
    described = torch.from_numpy(describe_panels([None, P_OLED[0], P_OLED[4], T_OLED[4]]))
    z = objective.true_prior(objective.mask(described))
    assert torch.pdist(z).min() > 0.01
    assert not z.requires_grad
    other_faces = replace(batch, x=torch.zeros_like(batch.x))
    assert torch.equal(objective.known_features(batch), objective.known_features(other_faces))


def test_the_control_knows_only_whether_there_is_a_display() -> None:
    objective = build(only_seen=True)
    described = torch.from_numpy(describe_panels([None, P_OLED[0], P_OLED[4], T_OLED[4]]))
    none, *displays = objective.true_prior(objective.mask(described))
    assert (none - displays[0]).abs().max() > 0.01
    assert torch.equal(displays[0], displays[1])
    assert torch.equal(displays[0], displays[2])
    assert described[:, 1:].any(), "the mask leaves what it was given"


def test_stage_two_restores_the_display_from_the_image(batch: Batch) -> None:
    objective = build(absent=0.0)
    objective.start_stage("s2")
    optimizer = torch.optim.Adam(objective.parameters("s2"), 3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        objective.loss("s2", batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    early = objective.train_metrics()["z_cosine"]
    for _ in range(10):
        objective.loss("s2", batch)
    late = objective.train_metrics()["z_cosine"]
    assert late > max(early, 0.9)


def test_a_recipe_without_displays_is_refused() -> None:
    recipe, card = make_panel_recipe()
    with pytest.raises(OptionError, match="a prior from displays, and none"):
        build_objective(replace(recipe, panel=None), card)


def test_the_presets_differ_in_what_is_known_of_the_display() -> None:
    whole, seen = (find_preset("lrdif", f"panel{name}-udc-real") for name in ("", "-seen"))
    assert seen == replace(whole, objective=whole.objective | {"only_seen": True})
    plain = find_preset("resnet18", "w36-tune-udc-real")
    assert sum(stage.epochs for stage in whole.stages) == plain.stages[0].epochs
    assert (whole.panel, whole.encoder) == (plain.panel, plain.encoder)
