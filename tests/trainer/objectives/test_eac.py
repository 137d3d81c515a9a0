"""EAC: attention that is the same in a mirror costs nothing, and never moves the head."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from models.weights import ModelCard
from trainer.objectives import build_objective
from trainer.objectives.base import Batch
from trainer.objectives.baselines.eac import EACObjective, attention, attention_loss
from trainer.recipes import Recipe


@pytest.fixture
def objective(make_recipe: Callable[..., Recipe], tiny_card: ModelCard) -> EACObjective:
    torch.manual_seed(0)
    made = build_objective(make_recipe({"objective": {"name": "eac"}}), tiny_card)
    assert isinstance(made, EACObjective)
    made.network.eval()
    return made


def test_attention_is_the_answer_before_it_is_averaged(objective: EACObjective) -> None:
    """Mean over places, plus the bias: the logits."""
    network, x = objective.network, torch.randn(3, 1, 24, 24)
    maps = network.feature_maps(x)
    seen = attention(maps, network.head.weight)
    assert seen.shape == (3, 8, *maps.shape[2:])
    torch.testing.assert_close(seen.mean(dim=(2, 3)) + network.head.bias, network(x))


def test_attention_loss_by_hand() -> None:
    seen = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert attention_loss(seen, seen.flip(3)) == 0  # mirrored, then mirrored back
    assert attention_loss(seen, seen) == 1  # columns differ by 1 everywhere
    assert attention_loss(seen + 2, seen.flip(3)) == 4


def test_attention_that_is_symmetric_costs_nothing() -> None:
    half = torch.randn(2, 8, 3, 2)
    seen = torch.cat([half, half.flip(3)], dim=3)
    assert attention_loss(seen, seen) == 0


def test_the_loss_is_the_sum_of_its_two_parts(objective: EACObjective, batch: Batch) -> None:
    network = objective.network
    seen, mirrored = (
        attention(network.feature_maps(x), network.head.weight) for x in (batch.x, batch.x.flip(3))
    )
    fit = functional.cross_entropy(network(batch.x), batch.targets)
    wanted = fit + 5 * functional.mse_loss(seen, mirrored.flip(3))
    torch.testing.assert_close(objective.loss("fit", batch), wanted)


def test_attention_does_not_move_the_head(objective: EACObjective) -> None:
    network = objective.network
    maps = network.feature_maps(torch.randn(4, 1, 48, 48))
    weight = network.head.weight
    loss = attention_loss(attention(maps, weight), attention(maps, weight))
    assert loss > 0
    loss.backward()
    assert network.head.weight.grad is None
    assert network.get_parameter("stages.0.conv1.weight").grad.abs().max() > 0
