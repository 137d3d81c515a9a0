"""Soft cross-entropy of one forward."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from models.weights import ModelCard
from trainer.objectives import build_objective
from trainer.objectives.base import Batch
from trainer.objectives.softmax import SoftmaxObjective
from trainer.recipes import Recipe


@pytest.fixture
def objective(make_recipe: Callable[..., Recipe], tiny_card: ModelCard) -> SoftmaxObjective:
    torch.manual_seed(0)
    made = build_objective(make_recipe(), tiny_card)
    assert type(made) is SoftmaxObjective
    made.network.eval()
    return made


def test_the_loss_by_hand(objective: SoftmaxObjective, batch: Batch) -> None:
    p = torch.softmax(objective.network(batch.x), dim=1)
    wanted = -(batch.targets * p.log()).sum(dim=1).mean()
    torch.testing.assert_close(objective.loss("fit", batch), wanted)


def test_the_loss_rests_at_the_votes(objective: SoftmaxObjective, batch: Batch) -> None:
    """No lower than the entropy of the votes, and there no gradient is left."""
    logits = batch.targets.log().requires_grad_()
    objective.network.forward = lambda x: logits
    loss = objective.loss("fit", batch)
    entropy = -(batch.targets * batch.targets.log()).sum(dim=1).mean()
    torch.testing.assert_close(loss, entropy)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-7, rtol=0)


def test_all_of_it_learns_answers_and_serves(objective: SoftmaxObjective, batch: Batch) -> None:
    network = objective.network
    assert [id(v) for v in objective.parameters("fit")] == [id(v) for v in network.parameters()]
    answers = objective.logits("fit", batch.x, batch.rows.numpy())
    assert answers is not None
    assert torch.equal(answers, network(batch.x))
    assert objective.serving_state(network.state_dict()).keys() == network.state_dict().keys()


def test_what_its_network_fixes_stays_fixed(objective: SoftmaxObjective) -> None:
    fixed = next(objective.network.parameters()).requires_grad_(False)
    assert all(value is not fixed for value in objective.parameters("fit"))
