"""The stages of LRDif: what each moves, what each leaves, and that what serves saw no label."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.lrdif.classifier import LRDifClassifier
from models.lrdif.network import LRDif
from models.weights import ModelCard, State
from trainer.data.faceset import FaceSet
from trainer.objectives import build_objective
from trainer.objectives.base import Batch
from trainer.objectives.lrdif.lrdif import LRDifObjective
from trainer.recipes import Recipe
from trainer.samples import SampleTable

Made = tuple[Recipe, ModelCard]
MakeLRDif = Callable[..., Made]
MakeFaces = Callable[..., FaceSet]
Keep = Callable[[FaceSet, Path], None]
Moved = Callable[[State, State], set[str]]
IDS = np.arange(16)
STAGES = ("points", "s1", "s2a", "s2")


def objective_of(made: Made) -> LRDifObjective:
    torch.manual_seed(0)
    objective = build_objective(*made)
    objective.network.train()
    return objective


def copied(state: State) -> State:
    return {name: value.clone() for name, value in state.items()}


def random_pair(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z, wanted = 3 * torch.randn(2, 6, 128, dtype=torch.float64, generator=generator)
    return z.requires_grad_(), wanted


@pytest.mark.parametrize("tau", [1.0, 0.15, 3.0])
def test_the_divergence_of_eq_17(make_lrdif: MakeLRDif, tau: float) -> None:
    objective = objective_of(make_lrdif(objective={"kl": 1, "tau": tau, "l1": 0}))
    z, wanted = random_pair()
    loss = objective.prior_loss(z, wanted)
    ours, theirs = torch.softmax(z / tau, dim=1), torch.softmax(wanted / tau, dim=1)
    reference = functional.kl_div(
        functional.log_softmax(z / tau, dim=1), theirs, reduction="batchmean"
    )
    torch.testing.assert_close(loss, reference, atol=1e-7, rtol=0)
    by_hand = (theirs * (theirs.log() - ours.log())).sum(dim=1).mean()
    torch.testing.assert_close(loss, by_hand, atol=1e-7, rtol=0)
    (gradient,) = torch.autograd.grad(loss, z)
    torch.testing.assert_close(gradient, (ours - theirs) / (tau * 6), atol=1e-10, rtol=0)
    torch.testing.assert_close(gradient.sum(dim=1), torch.zeros(6, dtype=torch.float64))


def test_the_weights_of_the_losses(make_lrdif: MakeLRDif) -> None:
    z, wanted = random_pair()

    def loss(**weights: float) -> float:
        return float(objective_of(make_lrdif(objective=weights)).prior_loss(z, wanted).detach())

    assert loss(kl=0, l1=1) == pytest.approx(float((z - wanted).abs().mean().detach()))
    assert loss(kl=0.1, l1=0) == pytest.approx(0.1 * loss(kl=1, l1=0))
    assert (
        loss()
        == pytest.approx(loss(kl=0.1, l1=1))
        == pytest.approx(0.1 * loss(kl=1, l1=0) + loss(kl=0, l1=1))
    )
    assert loss(kl=0, l1=0) == 0


def test_the_divergence_alone_proves_nothing(make_lrdif: MakeLRDif) -> None:
    """It is blind to a shift, and nearly so to all that is small: there the difference sees."""
    kl, l1 = (
        objective_of(make_lrdif(objective=weights))
        for weights in ({"kl": 1, "l1": 0}, {"kl": 0, "l1": 1})
    )
    z, _ = random_pair()
    assert abs(float(kl.prior_loss(z + 7, z).detach())) < 1e-7
    assert float(l1.prior_loss(z + 7, z).detach()) == pytest.approx(7)
    small = 0.01 * torch.randn(2, 4000, 128, generator=torch.Generator().manual_seed(0))
    assert float(kl.prior_loss(*small)) == pytest.approx(1e-4, rel=0.05)
    assert float(l1.prior_loss(*small)) == pytest.approx(0.0113, rel=0.02)


def test_what_of_z_is_restored_is_told_once_an_epoch(make_lrdif: MakeLRDif, batch: Batch) -> None:
    objective = objective_of(make_lrdif())
    for stage in ("points", "s1"):
        objective.start_stage(stage)
    assert objective.train_metrics() == {}
    objective.start_stage("s2")
    for _ in range(2):
        objective.loss("s2", batch)
    whole, beyond = float(sum(objective._cosines)) / 2, float(sum(objective._partial_cosines)) / 2
    assert objective.train_metrics() == {
        "z_cosine": pytest.approx(whole, abs=1e-5),
        "z_partial_cosine": pytest.approx(beyond, abs=1e-5),
    }
    assert objective.train_metrics() == {}


def test_the_teacher_is_asked_in_evaluation_and_learns_nothing(
    make_lrdif: MakeLRDif, batch: Batch, moved: Moved
) -> None:
    """No gradient, no running statistics; the same faces with the same label, as ever."""
    objective = objective_of(make_lrdif())
    objective.start_stage("s2")
    before = copied(objective.with_label.state_dict())
    wanted = objective.with_label.eval().z(batch.x, batch.targets)
    objective.network.train()
    torch.testing.assert_close(objective.target_prior(batch), wanted)
    for stage in ("s2a", "s2"):
        objective.network.train()
        objective.loss(stage, batch).backward()  # type: ignore[no-untyped-call]
    assert all(value.grad is None for value in objective.with_label.parameters())
    assert moved(before, objective.with_label.state_dict()) == set()
    assert not objective.target_prior(batch).requires_grad


@pytest.mark.parametrize(
    ("stage", "parts"),
    [
        ("points", {"with_label.former.dil"}),
        ("s1", {"with_label.encoder", "with_label.label", "with_label.fpen", "with_label.former"}),
        ("s2a", {"without.encoder", "without.restorer"}),
        ("s2", {"without.encoder", "without.restorer", "without.former"}),
    ],
)
def test_what_a_stage_moves_gets_a_gradient(
    make_lrdif: MakeLRDif, make_faces: MakeFaces, keep_made_points: Keep, tmp_path: Path,
    batch: Batch, stage: str, parts: set[str],
) -> None:  # fmt: skip
    objective = objective_of(make_lrdif())
    keep_made_points(make_faces(16), tmp_path)
    objective.prepare(SampleTable.of(make_faces(16)), make_faces(16), tmp_path)
    objective.start_stage(stage)
    given = objective.parameters(stage)
    names = {id(value): name for name, value in objective.network.named_parameters()}
    deep = 3 if stage == "points" else 2
    assert {".".join(names[id(value)].split(".")[:deep]) for value in given} == parts
    landmarks = [".landmarks." in names[id(value)] for value in given]
    assert all(landmarks) if stage == "points" else not any(landmarks)
    objective.loss(stage, batch).backward()  # type: ignore[no-untyped-call]
    assert [names[id(value)] for value in given if value.grad is None] == []
    reached = {id(v) for v in objective.network.parameters() if v.grad is not None}
    assert reached - {id(value) for value in given} <= set()


@pytest.mark.parametrize("label_noise", [0.0, 0.33, 1.0])
def test_some_labels_of_stage_one_are_another_faces(
    make_lrdif: MakeLRDif, label_noise: float
) -> None:
    """The share that is asked for, each a label of the batch; the target stays the face's own."""
    objective = objective_of(make_lrdif(objective={"label_noise": label_noise}))
    labels = torch.eye(2000)
    told = objective._with_label_noise(labels)
    own = (told == labels).all(dim=1)
    assert float(own.float().mean()) == pytest.approx(1 - label_noise, abs=3 * 0.0105 + 0.001)
    assert torch.equal(told.sum(dim=1), torch.ones(2000))
    assert torch.equal(told[own], labels[own])


def test_doubt_changes_what_stage_one_is_fed_and_nothing_else(
    make_lrdif: MakeLRDif, batch: Batch
) -> None:
    losses = {}
    for label_noise in (0.0, 1.0):
        objective = objective_of(make_lrdif(objective={"label_noise": label_noise}))
        torch.manual_seed(3)
        stage_one = objective.loss("s1", batch)
        torch.manual_seed(3)
        others = batch.targets[torch.randperm(len(batch.targets))]
        fed = others if label_noise else batch.targets
        wanted = functional.cross_entropy(objective.with_label(batch.x, fed), batch.targets)
        torch.testing.assert_close(stage_one, wanted)
        objective.start_stage("s2")
        torch.manual_seed(3)
        losses[label_noise] = objective.loss("s2", batch)
    torch.testing.assert_close(losses[0.0], losses[1.0])


def test_losses_of_the_stages(make_lrdif: MakeLRDif, batch: Batch) -> None:
    objective = objective_of(make_lrdif())
    objective.start_stage("s2")

    def loss(stage: str) -> Tensor:
        torch.manual_seed(3)
        objective.network.train()
        return objective.loss(stage, batch)

    seen: list[Tensor] = []
    for part in (objective.with_label.former, objective.without.former):
        part.register_forward_hook(lambda _module, _given, logits: seen.append(logits))
    s1, s2, s2a = loss("s1"), loss("s2"), loss("s2a")
    ce = [
        -(batch.targets * functional.log_softmax(logits, dim=1)).sum(dim=1).mean()
        for logits in seen
    ]
    assert len(ce) == 2  # s2a asks no former
    torch.testing.assert_close(s1, ce[0])
    torch.testing.assert_close(s2, s2a + ce[1])
    assert float(s2a.detach()) > 0.1


def answers_in_training(objective: LRDifObjective, batch: Batch, stage: str) -> Tensor:
    former = objective.with_label.former if stage == "s1" else objective.without.former
    seen: list[Tensor] = []
    hook = former.register_forward_hook(lambda _module, _given, logits: seen.append(logits))
    torch.manual_seed(9)
    objective.network.train()
    objective.loss(stage, batch)
    hook.remove()
    return seen[0].detach()


def test_no_label_reaches_stage_two(make_lrdif: MakeLRDif, batch: Batch) -> None:
    """Other labels, the same answers bitwise, in training too; of stage 1 others, and of a start
    that is not pure noise as well."""
    other = replace(batch, targets=batch.targets.flip(0))

    def same(stage: str, **network: Any) -> bool:
        objective = objective_of(make_lrdif(**network))
        objective.start_stage(stage)
        return torch.equal(*(answers_in_training(objective, b, stage) for b in (batch, other)))

    assert same("s2")
    assert same("s2", insert_noise=True)
    assert not same("s1")
    assert not same("s2", zero_snr=False)


def test_inserted_noise_is_drawn_for_each_step_that_adds_some(
    make_lrdif: MakeLRDif, batch: Batch
) -> None:
    for insert, count in ((False, 0), (True, 3)):
        objective = objective_of(make_lrdif(insert_noise=insert))
        objective.start_stage("s2a")
        given: list[Any] = []
        restore = objective.without.restore

        def spy(x: Tensor, start: Tensor, noises: Any, restore: Any = restore,
                given: list[Any] = given) -> Tensor:  # fmt: skip
            given.extend(noises)
            return restore(x, start, noises)

        objective.without.restore = spy  # type: ignore[method-assign, assignment]
        objective.loss("s2a", batch)
        assert len(given) == count
        assert len({float(noise.sum()) for noise in given}) == count


def test_only_stage_two_answers(make_lrdif: MakeLRDif, batch: Batch) -> None:
    recipe, card = make_lrdif()
    objective = objective_of((recipe, card))
    objective.network.eval()
    for stage in ("points", "s1", "s2a"):
        assert objective.logits(stage, batch.x, IDS) is None
    found = objective.logits("s2", batch.x, IDS)
    wanted = LRDifClassifier(objective.without, card, flip=False).logits(batch.x, IDS)
    assert found is not None
    assert torch.equal(found, wanted)


def test_stage_two_starts_from_stage_one_once(make_lrdif: MakeLRDif, moved: Moved) -> None:
    objective = objective_of(make_lrdif())
    objective.start_stage("s2a")
    for name in ("encoder", "former"):
        ours, theirs = (
            part.get_submodule(name).state_dict()
            for part in (objective.without, objective.with_label)
        )
        assert ours.keys() == theirs.keys()
        assert moved(theirs, ours) == set()
    with torch.no_grad():  # s2a moves the encoder
        for value in objective.without.encoder.parameters():
            value.add_(1)
    before = copied(objective.network.state_dict())
    objective.start_stage("s2")
    assert moved(before, objective.network.state_dict()) == set()


def test_losses_that_nobody_knows(make_lrdif: MakeLRDif) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'mse'"):
        build_objective(*make_lrdif(objective={"mse": 1.0}))


def test_the_papers_settings(make_lrdif: MakeLRDif, batch: Batch) -> None:
    """eps, unscaled Z, a start that is not pure noise, noise inserted, divergence alone."""
    objective = objective_of(
        make_lrdif(
            objective={"kl": 1, "tau": 1, "l1": 0},
            norm=False,
            zero_snr=False,
            param="eps",
            insert_noise=True,
        )
    )
    objective.start_stage("s2")
    loss = objective.loss("s2", batch)
    loss.backward()  # type: ignore[no-untyped-call]
    assert math.isfinite(float(loss.detach()))
    assert all(value.grad is not None for value in objective.parameters("s2"))
    assert isinstance(objective.without, LRDif)
