"""Any pair of frozen encoders trains behind the door where CLIP mounts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.errors import ModelError
from models.lrdif import network
from models.weights import ModelCard
from trainer.objectives import build_objective
from trainer.objectives.base import Batch
from trainer.recipes import Recipe

Made = tuple[Recipe, ModelCard]


class FixedEncoders:
    """A face by the means of its rows, a distribution over its labels as it is, twice."""

    features = 16

    def __init__(self, folder: str, labels: tuple[str, ...] = ()) -> None:
        self.labels = labels
        assert folder == "fixed"

    def image(self, x: Tensor) -> Tensor:
        return x.mean(dim=(1, 3))

    def label(self, shares: Tensor) -> Tensor:
        assert shares.shape[1] == len(self.labels)
        return torch.cat([shares, shares], dim=1)


@pytest.fixture
def made(make_lrdif: Callable[..., Made], monkeypatch: pytest.MonkeyPatch) -> Made:
    monkeypatch.setattr(network, "ClipEncoders", FixedEncoders)
    return make_lrdif(clip="fixed")


@pytest.mark.parametrize(
    ("stage", "parts"),
    [
        ("s1", {"with_label.fpen", "with_label.former"}),
        ("s2a", {"without.restorer"}),
        ("s2", {"without.restorer", "without.former"}),
    ],
)
def test_all_but_the_encoders_learns(made: Made, batch: Batch, stage: str, parts: set[str]) -> None:
    torch.manual_seed(0)
    objective = build_objective(*made)
    objective.start_stage(stage)
    objective.network.train()
    names = {id(value): name for name, value in objective.network.named_parameters()}
    given = objective.parameters(stage)
    assert {".".join(names[id(value)].split(".")[:2]) for value in given} == parts
    objective.loss(stage, batch).backward()  # type: ignore[no-untyped-call]
    assert all(value.grad is not None for value in given)


def test_what_serves_holds_no_encoder(made: Made) -> None:
    objective = build_objective(*made)
    state = objective.serving_state(objective.network.state_dict())
    assert {name.partition(".")[0] for name in state} == {"restorer", "former"}


def test_an_input_that_clip_would_misread_is_refused_before_training(made: Made) -> None:
    recipe, card = made
    with pytest.raises(ModelError, match=r"CLIP behind an input of mean \(0.4,\)"):
        build_objective(recipe, replace(card, mean=(0.4,)))
