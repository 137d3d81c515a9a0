"""Faces that are held out: measured with the averaged weights, behind displays too."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from models.loading import build_network
from models.weights import ModelCard
from trainer.data.faceset import FaceSet
from trainer.inputs import model_inputs
from trainer.objectives.softmax import SoftmaxObjective
from trainer.recipes import PanelDraws, Recipe
from trainer.validation import Validation


def test_what_is_held_out_measures_the_average_and_leaves_the_weights(
    tiny_card: ModelCard, make_faces: Callable[..., FaceSet], make_recipe: Callable[..., Recipe]
) -> None:
    faces = make_faces(30)
    objective = SoftmaxObjective(make_recipe(), tiny_card)
    network, average = objective.network, build_network(tiny_card).state_dict()
    for name, value in average.items():
        average[name] = torch.zeros_like(value)
    average["head.bias"][3] = 1.0  # answers 3, always
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = Validation.of(faces, tiny_card).measured(objective, "fit", average)
    assert found == {"accuracy": pytest.approx((faces.labels == 3).mean(), abs=1e-5)}
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)
    network.train()(model_inputs(faces[:8], tiny_card)).sum().backward()  # and it can still learn
    assert network.get_parameter("head.weight").grad is not None


def test_what_is_held_out_is_seen_behind_displays_too(
    tiny_card: ModelCard, make_recipe: Callable[..., Recipe], make_faces: Callable[..., FaceSet]
) -> None:
    held = Validation.of(make_faces(30), tiny_card, PanelDraws(transmission=(0.03, 0.03)))
    clean, behind = held.inputs.values()
    assert behind.shape == clean.shape
    assert (clean - behind).abs().mean() > 0.1
    again = Validation.of(make_faces(30), tiny_card, PanelDraws(transmission=(0.03, 0.03)))
    torch.testing.assert_close(again.inputs["accuracy_behind_displays"], behind, rtol=0, atol=0)
    objective = SoftmaxObjective(make_recipe(), tiny_card)
    found = held.measured(objective, "fit", objective.network.state_dict())
    assert found.keys() == {"accuracy", "accuracy_behind_displays"}
