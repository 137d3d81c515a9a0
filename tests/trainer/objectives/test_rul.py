"""RUL: shares by uncertainty, both faces asked for, and a head that is one map in the end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from models.loading import build_network
from models.weights import ModelCard
from trainer.objectives import build_objective
from trainer.objectives.base import Batch
from trainer.objectives.baselines.rul import RULObjective, mix_features
from trainer.recipes import Recipe


@pytest.fixture
def objective(make_recipe: Callable[..., Recipe], tiny_card: ModelCard) -> RULObjective:
    torch.manual_seed(0)
    made = build_objective(make_recipe({"objective": {"name": "rul"}}), tiny_card)
    assert isinstance(made, RULObjective)
    for _ in range(3):  # running statistics that are none of the first ones
        made.network(torch.randn(16, 1, 24, 24) * 2 + 1)
    made.network.eval()
    return made


def test_shares_by_hand() -> None:
    """Variances 1 and 3: a quarter of the first, three of the second."""
    mean = torch.tensor([[8.0], [0.0]])
    log_variance = torch.tensor([[1.0], [3.0]]).log()
    other = torch.tensor([1, 0])
    torch.testing.assert_close(
        mix_features(mean, log_variance, other), torch.tensor([[2.0], [2.0]])
    )


def test_equal_uncertainties_give_the_plain_mean_and_shares_sum_to_1() -> None:
    mean, other = torch.randn(9, 5), torch.randperm(9)
    even = mix_features(mean, torch.full((9, 5), 2.5), other)
    torch.testing.assert_close(even, (mean + mean[other]) / 2)
    wild = 50 * torch.randn(9, 5)
    torch.testing.assert_close(mix_features(torch.ones(9, 5), wild, other), torch.ones(9, 5))
    torch.testing.assert_close(mix_features(mean, wild, torch.arange(9)), mean)


def test_the_loss_asks_for_both_faces(objective: RULObjective, batch: Batch) -> None:
    network = objective.network
    features = network.network(batch.x)
    torch.manual_seed(3)
    loss = objective.loss("fit", batch)
    torch.manual_seed(3)
    other = torch.randperm(16)
    variance = network.log_variance(features).exp()
    share = variance / (variance + variance[other])
    mean = network.mean(features)
    answers = network.classify(share * mean + (1 - share) * mean[other])
    halves = (functional.cross_entropy(answers, t) for t in (batch.targets, batch.targets[other]))
    torch.testing.assert_close(loss, sum(halves) / 2)


def test_every_part_learns(objective: RULObjective, batch: Batch) -> None:
    objective.loss("fit", batch).backward()
    for name, value in objective.network.named_parameters():
        assert value.grad is not None, name


def test_what_serves_is_a_plain_network(
    objective: RULObjective, tiny_card: ModelCard, batch: Batch
) -> None:
    plain = build_network(tiny_card).eval()
    plain.load_state_dict(objective.serving_state(objective.network.state_dict()))
    answers = objective.logits("fit", batch.x, batch.rows.numpy())
    torch.testing.assert_close(plain(batch.x), answers, atol=1e-5, rtol=1e-5)
