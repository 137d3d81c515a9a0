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
from trainer.validation import ValidationResult, ValidationSplit


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
    accuracy = pytest.approx((faces.labels == 3).mean(), abs=1e-5)
    recall = {faces.classes[label]: float(label == 3) for label in sorted({*faces.labels})}
    assert found.metrics == {"accuracy": accuracy, "recall": recall}
    assert found.score == accuracy
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
    assert found.metrics.keys() == {"accuracy", "accuracy_udc", "recall"}
    assert found.score == (found.metrics["accuracy"] + found.metrics["accuracy_udc"]) / 2


def test_the_hardest_faces_have_the_highest_losses(
    tiny_card: ModelCard, make_faces: Callable[..., FaceSet]
) -> None:
    faces = make_faces(4)
    split = ValidationSplit.of(faces, tiny_card)
    logits = torch.zeros(4, 8)
    for row, sureness in enumerate((1.0, 9.0, 5.0, -3.0)):  # of another class than the label
        logits[row, (faces.labels[row] + 1) % 8] = sureness
    hardest = split.list_hardest(ValidationResult({}, 0.0, logits), 2)["hardest"]
    assert [face.loss for face in hardest] == pytest.approx([9.0, 5.0], abs=0.1)
    for face, row in zip(hardest, (1, 2), strict=True):
        assert (face.tile == faces.tiles[row]).all()
        names = [faces.classes[(faces.labels[row] + shift) % 8] for shift in (0, 1)]
        assert [face.label, face.predicted] == names
    assert split.list_hardest(ValidationResult({}), 2) == {}
    assert split.list_hardest(ValidationResult({}, 0.0, logits), 0) == {}
