"""SCN: weights that rank, labels that change and change back, and a plain network at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from models.loading import build_network
from models.weights import ModelCard
from trainer.data.faceset import FaceSet
from trainer.objectives import build_objective
from trainer.objectives.base import Batch
from trainer.objectives.baselines.scn import VOTES, SCNObjective, find_relabels, rank_loss
from trainer.recipes import Recipe
from trainer.samples import SampleTable


@pytest.fixture
def objective(
    make_recipe: Callable[..., Recipe],
    make_faces: Callable[..., FaceSet],
    tiny_card: ModelCard,
    tmp_path: Path,
) -> SCNObjective:
    """On 40 faces in batches of 16: two steps an epoch, new labels from the third epoch on."""
    torch.manual_seed(0)
    settings = {"name": "scn", "relabel_from": 2}
    made = build_objective(make_recipe({"objective": settings}), tiny_card)
    assert isinstance(made, SCNObjective)
    made.prepare(SampleTable.of(make_faces()), make_faces(), tmp_path)
    made.network.eval()
    return made


def test_rank_loss_by_hand_and_its_gradient() -> None:
    """Ten weights, seven of them sure: each pulls by one part of its group."""
    weights = torch.tensor([0.5] * 7 + [0.45] * 3)[torch.tensor([7, 0, 1, 8, 2, 3, 4, 9, 5, 6])]
    weights.requires_grad_()
    loss = rank_loss(weights, 0.7, 0.15)
    assert loss.item() == pytest.approx(0.15 - 0.05)
    (gradient,) = torch.autograd.grad(loss, weights)
    wanted = torch.where(weights > 0.47, -1 / 7, 1 / 3)
    torch.testing.assert_close(gradient, wanted)


def test_weights_that_lead_enough_are_left_alone() -> None:
    weights = torch.tensor([0.9] * 7 + [0.7] * 3, requires_grad=True)
    loss = rank_loss(weights, 0.7, 0.15)
    assert loss == 0
    assert torch.autograd.grad(loss, weights)[0].abs().max() == 0


def test_who_is_relabelled() -> None:
    p = torch.tensor([[0.6, 0.3, 0.1], [0.6, 0.45, 0.05], [0.2, 0.7, 0.1]])
    votes = torch.tensor([[0.0, 0.8, 0.2], [0.0, 1.0, 0.0], [0.1, 0.9, 0.0]])
    p = p / p.sum(dim=1, keepdim=True)
    assert find_relabels(p.log(), votes, 0.2).tolist() == [0, VOTES, VOTES]


def test_the_loss_by_hand(objective: SCNObjective, batch: Batch) -> None:
    curing = objective.network
    pooled = curing.network.feature_maps(batch.x).mean(dim=(2, 3))
    weights = torch.sigmoid(curing.weigh(pooled))[:, 0]
    fit = functional.cross_entropy(weights[:, None] * curing.network(batch.x), batch.targets)
    ordered = weights.detach().sort(descending=True).values
    rank = max(0.15 - float(ordered[:11].mean() - ordered[11:].mean()), 0)
    torch.testing.assert_close(objective.loss("fit", batch), fit + rank)


def test_labels_change_from_their_epoch_on_and_change_back(
    objective: SCNObjective, batch: Batch
) -> None:
    samples = objective.samples
    samples.votes[:16] = samples.targets[:16] = batch.targets
    network = objective.network.network
    with torch.no_grad():
        network.head.bias[5] = 100.0  # sure of class 5, whatever it sees
    for epoch in range(2):
        objective.start_epoch("fit", epoch)
        objective.loss("fit", batch)
        assert torch.equal(samples.targets[:16], batch.targets)
    objective.start_epoch("fit", 2)
    objective.loss("fit", batch)
    own = batch.targets.argmax(dim=1) == 5
    assert 0 < own.sum() < 16
    wanted = torch.where(own[:, None], batch.targets, functional.one_hot(torch.tensor(5), 8))
    assert torch.equal(samples.targets[:16], wanted)
    assert torch.equal(samples.targets[16:], samples.votes[16:])
    assert torch.equal(samples.votes[:16], batch.targets)
    with torch.no_grad():
        network.head.bias[5] = 0.0
        network.head.weight.zero_()
    objective.loss("fit", batch)
    assert torch.equal(samples.targets[:16], batch.targets)


def test_what_serves_is_the_plain_network(
    objective: SCNObjective, tiny_card: ModelCard, batch: Batch
) -> None:
    product = objective.serving_state(objective.network.state_dict())
    plain = build_network(tiny_card).eval()
    plain.load_state_dict(product)
    answers = objective.logits("fit", batch.x, batch.rows.numpy())
    assert answers is not None
    assert torch.equal(plain(batch.x), answers)
    weighted, weights = objective.network(batch.x)
    assert ((weights > 0) & (weights < 1)).all()
    assert torch.equal(weighted.argmax(dim=1), answers.argmax(dim=1))
