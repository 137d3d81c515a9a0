"""The validation split: evaluated with the averaged weights, under displays too."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from models.loading import build_network
from models.weights import ModelCard
from trainer.data.faceset import FaceSet
from trainer.inputs import build_inputs
from trainer.objectives.softmax import SoftmaxObjective
from trainer.recipes import RandomPanel, Recipe
from trainer.validation import ValidationSplit


def test_the_split_evaluates_the_average_and_leaves_the_weights(
    tiny_card: ModelCard, make_faces: Callable[..., FaceSet], make_recipe: Callable[..., Recipe]
) -> None:
    faces = make_faces(30)
    objective = SoftmaxObjective(make_recipe(), tiny_card)
    network, average = objective.network, build_network(tiny_card).state_dict()
    for name, value in average.items():
        average[name] = torch.zeros_like(value)
    average["head.bias"][3] = 1.0  # predicts 3, always
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = ValidationSplit.of(faces, tiny_card).evaluate(objective, "fit", average)
    assert found == {"accuracy": pytest.approx((faces.labels == 3).mean(), abs=1e-5)}
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)
    network.train()(build_inputs(faces[:8], tiny_card)).sum().backward()  # and it can still learn
    assert network.get_parameter("head.weight").grad is not None


def test_the_split_is_evaluated_under_displays_too(
    tiny_card: ModelCard, make_recipe: Callable[..., Recipe], make_faces: Callable[..., FaceSet]
) -> None:
    split = ValidationSplit.of(make_faces(30), tiny_card, RandomPanel(transmission=(0.03, 0.03)))
    clean, behind = split.inputs.values()
    assert behind.shape == clean.shape
    assert (clean - behind).abs().mean() > 0.1
    again = ValidationSplit.of(make_faces(30), tiny_card, RandomPanel(transmission=(0.03, 0.03)))
    torch.testing.assert_close(again.inputs["accuracy_udc"], behind, rtol=0, atol=0)
    objective = SoftmaxObjective(make_recipe(), tiny_card)
    found = split.evaluate(objective, "fit", objective.network.state_dict())
    assert found.keys() == {"accuracy", "accuracy_udc"}
