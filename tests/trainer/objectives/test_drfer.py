"""DR-FER's stages, as the loop runs them, on faces that are read in milliseconds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.crops import GEOMETRY
from models.emotions import EMOTIONS
from models.loading import load_classifier
from models.weights import ModelCard
from trainer import run
from trainer.compare.evaluate import mark_correct, predict
from trainer.data.faceset import FaceSet
from trainer.data.label_noise import with_labels
from trainer.errors import OptionError
from trainer.loop import TrainingResult, train
from trainer.objectives.base import Batch
from trainer.objectives.drfer import rounds as drfer_rounds
from trainer.objectives.drfer.drfer import FIRST, SECOND, DRFERObjective
from trainer.presets import find_preset
from trainer.recipes import Augment, Recipe, Stage
from trainer.run import toy_faces, train_weights
from trainer.samples import SampleTable

NETWORK = {"width": 8, "stem_stride": 2, "embedding": 16, "dropout": 0.3}
TWO_FOLDS = (("warmup", 1), ("rounds", 2), ("fit", 1))
Go = Callable[..., TrainingResult]


class StoppedError(Exception):
    """The power goes out."""


def make_recipe(stages: tuple[tuple[str, int], ...] = TWO_FOLDS, **objective: Any) -> Recipe:
    staged = tuple(Stage(name, n, batch=32, resolution=((0.0, 16),)) for name, n in stages)
    settings = {"every": 1, "gallery": 0, **objective}
    augment = Augment(erase_px=(2, 4))
    return Recipe("drfer", NETWORK, staged, input_px=16, augment=augment, objective=settings)


def card_of(recipe: Recipe) -> ModelCard:
    return ModelCard(
        *("tiny", recipe.model, recipe.network, EMOTIONS, recipe.input_px, 1, (0.5,), (0.25,)),
        *(GEOMETRY, "made", "none"),
    )


def noisy_toys(n: int = 64) -> FaceSet:
    return with_labels(toy_faces(n), "symmetric:0.2")


@pytest.fixture
def go(tmp_path: Path) -> Go:
    def train_in(
        folder: str,
        recipe: Recipe,
        faces: FaceSet,
        report: Callable[[dict[str, Any]], None] = lambda line: None,
    ) -> TrainingResult:
        return train(recipe, card_of(recipe), faces, None, 0, tmp_path / folder, report=report)

    return train_in


def build(faces: FaceSet, recipe: Recipe) -> DRFERObjective:
    torch.manual_seed(0)
    objective = DRFERObjective(recipe, card_of(recipe), **recipe.objective)
    objective.prepare(SampleTable.of(faces), faces, Path())
    objective.network.train()
    return objective


def batch_of(objective: DRFERObjective, n: int) -> Batch:
    rows = torch.arange(n)
    x, targets = objective._inputs[rows], objective.samples.targets[rows]
    return Batch(x, targets, torch.zeros(n, 2, 3), rows)


def digest(values: Tensor) -> str:
    return hashlib.sha256(values.numpy().tobytes()).hexdigest()


def test_a_stopped_run_goes_on_bitwise_and_labels_never_change(
    go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between two rounds: losses, mean predictions and class memories are of both. Networks
    of so few steps tell no label apart: P(clean) is a function of the loss here."""
    monkeypatch.setattr(drfer_rounds, "split_clean", lambda losses, *rest: (-losses).exp())
    recipe = make_recipe((("warmup", 1), ("rounds", 3), ("fit", 1)), every=2)
    faces = noisy_toys()

    def stop(line: dict[str, Any]) -> None:
        if (line["stage"], line["epoch"]) == ("rounds", 2):
            raise StoppedError

    whole = go("whole", recipe, faces)
    with pytest.raises(StoppedError):
        go("run", recipe, faces, stop)
    torch.manual_seed(9)
    resumed = go("run", recipe, faces)
    for stage in ("rounds", "fit"):
        files = [tmp_path / folder / f"{stage}.safetensors" for folder in ("whole", "run")]
        assert files[0].read_bytes() == files[1].read_bytes(), stage
    assert all(torch.equal(whole.state[name], resumed.state[name]) for name in whole.state)
    table = whole.objective.samples
    assert digest(table.votes) == digest(torch.from_numpy(faces.targets))
    assert table.kept["losses"].shape[0] == 3  # after the warm-up, epoch 2, and the last one
    assert not torch.equal(table.targets, table.votes)


def test_nothing_is_learned_from_the_truth_or_from_labels_that_one_judges(go: Go) -> None:
    recipe, faces = make_recipe((("warmup", 1), ("fit", 1))), noisy_toys()
    assert faces.truth is not None
    plain = go("plain", recipe, faces)
    blind = go("blind", recipe, replace(faces, truth=np.roll(faces.truth, 1)))
    assert all(torch.equal(plain.state[name], blind.state[name]) for name in plain.state)
    assert plain.history[0]["split_auc"] != blind.history[0]["split_auc"]
    warm = make_recipe((("warmup", 1), ("fit", 0)))
    states = []
    for shift in (0, 1):
        folds = build(faces, warm)._folds.numpy()
        labels = np.where(folds == 0, (faces.labels + shift) % 8, faces.labels)
        other = replace(faces, labels=labels, targets=np.eye(8, dtype=np.float32)[labels])
        states.append(go(f"shift{shift}", warm, other).objective.network.state_dict())
    changed = {
        name.split(".")[0] for name in states[0] if not states[0][name].equal(states[1][name])
    }
    assert changed == {FIRST}  # the second, which judges fold 0, never saw these labels


def test_what_serves_is_the_first_network_alone(go: Go) -> None:
    result = go("run", make_recipe((("warmup", 1), ("fit", 1))), noisy_toys())
    assert isinstance(result.objective, DRFERObjective)
    network = result.objective.learners[FIRST].network
    assert result.state.keys() == network.state_dict().keys()
    assert [line["stage"] for line in result.history] == ["warmup", "fit"]


@pytest.mark.parametrize(
    ("settings", "stages"),
    [
        ({}, TWO_FOLDS),
        ({"mim": 0.0, "mixup": 0.0}, TWO_FOLDS),
        ({"dcl": "batch", "retrieval": "knn"}, TWO_FOLDS),
        ({"folds": 1, "hard": True, "mixup": 0.0, "ramp": 2}, (("warmup", 1), ("rounds", 2))),
    ],
)
def test_every_variant_trains(
    go: Go, settings: dict[str, Any], stages: tuple[tuple[str, int], ...]
) -> None:
    history = go("run", make_recipe(stages, **settings), noisy_toys()).history
    assert ("mim" in history[0]) == (settings.get("mim") != 0)
    assert "dcl" not in history[0]
    assert "dcl" in history[1]
    assert "split_auc" in history[0]


def test_the_loss_of_two_networks_is_that_of_their_faces() -> None:
    """As many faces in a batch as it comes: a face weighs as much in each."""
    objective = build(noisy_toys(), make_recipe(mim=0.0))
    objective.start_epoch("warmup", 0)
    objective.network.eval()
    batch = batch_of(objective, 40)
    total = objective.loss("warmup", batch).detach()
    expected = torch.zeros(())
    for fold, name in enumerate((FIRST, SECOND)):
        own = objective._folds[:40] == fold
        learner = objective.learners[name]
        vectors = learner.network.represent(batch.x[own])
        outputs = [learner.network.classify(vectors)]
        outputs += [h(v) for h, v in zip(learner.heads, vectors.chunk(2, dim=1), strict=True)]
        for weight, logits in zip((1, 0.5, 0.5), outputs, strict=True):
            entropies = torch.nn.functional.cross_entropy(
                logits, batch.targets[own], reduction="sum"
            )
            expected = expected + weight * entropies / 20
    assert float(total) == pytest.approx(float(expected.detach()), rel=1e-4)


@pytest.mark.parametrize("hard", [False, True])
def test_half_a_batch_on_each_of_two_workers_is_the_batch(hard: bool) -> None:
    """Without what mixes faces (mixup), the masks' random numbers and batch statistics."""
    objective = build(noisy_toys(), make_recipe(mim=0.0, mixup=0.0, hard=hard, dcl="single"))
    objective.network.eval()
    kept = objective.samples.kept
    for stage in ("warmup", "rounds"):
        objective.start_epoch(stage, 0)
        kept["is_clean"] = torch.arange(64) % 4 > 0
        batch = batch_of(objective, 64)
        whole = objective.loss(stage, batch).detach()
        halves = []
        for start in range(2):
            part = slice(start, None, 2)
            values = (batch.x, batch.targets, batch.warps, batch.rows)
            share = Batch(*(value[part] for value in values))
            halves.append(objective.loss(stage, share).detach())
        assert float(whole) == pytest.approx(float(sum(halves)) / 2, rel=1e-5)
        for name, builder in objective._builders.items():
            kept |= {f"{name}.{part}": value for part, value in builder.state().items()}


def test_with_hard_targets_noisy_faces_come_in_slowly() -> None:
    objective = build(noisy_toys(), make_recipe(hard=True, ramp=10))
    objective.samples.kept["is_clean"] = torch.arange(64) % 4 > 0
    is_clean = torch.tensor([True, False])
    for epoch, risen in ((0, 0.1), (4, 0.5), (30, 1.0)):
        objective.start_epoch("rounds", epoch)
        main, branches = objective._weigh("rounds", is_clean)
        assert main.tolist() == pytest.approx([1 / 0.75, risen / 0.25])
        assert branches.tolist() == pytest.approx([1 / 0.75, 0])
    assert [value.tolist() for value in objective._weigh("warmup", is_clean)] == [[1, 1], [1, 1]]


def test_mixed_faces_are_mixed_as_their_targets_are() -> None:
    objective = build(noisy_toys(), make_recipe())
    x = torch.eye(64)[:, None, None, :]
    targets = torch.eye(64)
    mixed, soft, is_mixed = objective._mix("rounds", x, targets)
    assert torch.allclose(mixed[:, 0, 0], soft)
    assert torch.allclose(soft.sum(dim=1), torch.ones(64))
    assert (soft.diagonal() >= 0.5 - 1e-6).all()
    assert torch.equal(soft[~is_mixed], targets[~is_mixed])
    assert 0.25 < is_mixed.float().mean() < 0.75
    assert not objective._mix("warmup", x, targets)[2].any()


def test_a_batch_is_learnt_by_heart() -> None:
    faces = with_labels(toy_faces(24), "symmetric:1.0")
    objective = build(faces, make_recipe(folds=1, mim=0.1))
    optimizer = torch.optim.AdamW(objective.network.parameters(), lr=5e-3)
    objective.start_epoch("warmup", 0)
    batch = batch_of(objective, 24)
    for _ in range(60):
        optimizer.zero_grad()
        objective.loss("warmup", batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    logits = objective.logits("warmup", batch.x, faces.ids)
    assert logits is not None
    assert torch.equal(logits.argmax(dim=1), torch.from_numpy(faces.labels))


@pytest.mark.slow
def test_toy_faces_are_learnt_through_a_fifth_of_wrong_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "select_dtype", lambda threads: torch.float32)
    monkeypatch.setattr(run, "keep_freed_memory", lambda: None)
    out, lines = tmp_path / "w.safetensors", list[dict[str, Any]]()
    recipe, faces = find_preset("drfer", "smoke"), with_labels(toy_faces(), "symmetric:0.2")
    card = train_weights("toy", recipe, faces, 0, out, tmp_path / "run", report=lines.append)
    assert "symmetric:0.2" in card.data
    others = toy_faces(300, seed=1)
    assert mark_correct(predict(load_classifier(str(out)), others), others).mean() >= 0.9
    rounds = [line for line in lines if line.get("stage") == "rounds"]
    assert rounds[-1]["split_auc"] >= 0.85
    assert rounds[-1]["retrieved_right"] >= 0.7
    # The labels of the cut are as noisy as those that are trained on.
    assert 0.6 < lines[-1]["accuracy"] < 0.95


@pytest.mark.parametrize(
    ("stages", "settings", "message"),
    [
        ((("s1", 1),), {}, "stage s1: drfer: give warmup, rounds, fit"),
        ((("warmup", 1),), {}, "two folds, and no network of all faces: drfer: give fit"),
        (TWO_FOLDS, {"folds": 3}, "3 folds: drfer: give 1 or 2"),
        (TWO_FOLDS, {"dcl": "pair"}, "dcl 'pair': drfer: give single, batch, centre or none"),
    ],
)
def test_recipes_that_cannot_be(
    stages: tuple[tuple[str, int], ...], settings: dict[str, Any], message: str
) -> None:
    recipe = make_recipe(stages, **settings)
    with pytest.raises(OptionError, match=message):
        DRFERObjective(recipe, card_of(recipe), **recipe.objective)


def test_ablations_leave_out_one_thing_each_and_take_as_many_epochs() -> None:
    whole = find_preset("drfer", "compact")
    for name, settings in (
        ("no-mim", {"mim": 0.0}),
        ("no-class-gmm", {"per_class": False}),
        ("no-dcl", {"dcl": "none"}),
        ("no-retrieval", {"retrieval": "none"}),
        ("knn", {"retrieval": "knn"}),
        ("dcl-batch", {"dcl": "batch"}),
        ("dcl-centre", {"dcl": "centre"}),
    ):
        assert find_preset("drfer", f"compact-{name}") == replace(whole, objective=settings)
    baseline = find_preset("resnet18", "w36-40")
    for name in ("", "-no-crossfit", "-poster", "-ce"):
        recipe = find_preset("drfer", f"compact{name}")
        assert sum(stage.epochs for stage in recipe.stages) == 40
        assert recipe.network == whole.network
        assert recipe.augment == baseline.augment
        assert {stage.lr for stage in recipe.stages} == {baseline.stages[0].lr}
    assert find_preset("drfer", "compact-no-crossfit").objective == {"folds": 1}
