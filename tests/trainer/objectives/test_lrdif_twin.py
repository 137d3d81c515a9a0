"""LRDif with a clean-twin prior: what Z is made of, what each stage moves, and that it learns."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.crops import GEOMETRY
from models.emotions import EMOTIONS
from models.errors import ModelError
from models.loading import find_weights, load_classifier, load_network
from models.lrdif.network import LRDif
from models.lrdif.trunk import ModulatedResNet
from models.weights import ModelCard, State, read_card, read_state
from trainer import run
from trainer.data.faceset import FaceSet
from trainer.errors import DataError
from trainer.inputs import build_inputs, build_udc_inputs
from trainer.loop import train
from trainer.objectives import build_objective
from trainer.objectives.base import Batch
from trainer.objectives.lrdif.lrdif_twin import LRDifTwinObjective
from trainer.presets import find_preset
from trainer.recipes import RandomPanel, Recipe, Stage
from trainer.run import toy_faces
from trainer.samples import SampleTable

Made = tuple[Recipe, ModelCard]
STILL = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
TEACHER = "resnet18-w36"


def make_twin(*, stages: tuple[str, ...] = ("s1", "s2"), epochs: int = 1, network: Any = None,
              **objective: Any) -> Made:  # fmt: skip
    """A recipe with a narrow trunk, and its card."""
    settings = {"trunk": 8, "prior": 16, "dropout": 0.0} | (network or {})
    recipe = Recipe(
        "lrdif",
        settings,
        tuple(Stage(name, epochs, batch=16, lr=2e-3) for name in stages),
        panel=RandomPanel(),
        objective={"name": "lrdif-twin", "teacher": TEACHER, "label": 0.0} | objective,
    )
    return recipe, ModelCard(
        *("tiny", "lrdif", settings, EMOTIONS, 48, 1, (0.5,), (0.25,), GEOMETRY, "made", "none")
    )


def objective_of(made: Made, faces: FaceSet) -> LRDifTwinObjective:
    torch.manual_seed(0)
    objective = build_objective(*made)
    assert isinstance(objective, LRDifTwinObjective)
    objective.prepare(SampleTable.of(faces), faces, Path())
    objective.network.train()
    return objective


def batch_of(faces: FaceSet, card: ModelCard) -> Batch:
    """All faces under displays, unmoved."""
    n, x = len(faces), build_udc_inputs(faces, card, RandomPanel())
    rows = torch.arange(n)
    targets = torch.from_numpy(faces.targets)
    return Batch(x, targets, STILL.expand(n, 2, 3), rows)


@pytest.fixture
def faces(make_faces: Callable[..., FaceSet]) -> FaceSet:
    """Sixteen faces of noise."""
    return make_faces(16)


@pytest.fixture
def batch(faces: FaceSet) -> Batch:
    return batch_of(faces, make_twin()[1])


def copied(state: State) -> State:
    return {name: value.clone() for name, value in state.items()}


def test_z_is_of_the_clean_face_and_nothing_else(faces: FaceSet, batch: Batch) -> None:
    """Of the face, or its mirror image where the batch mirrors it, whatever became of it since."""
    objective = objective_of(make_twin(), faces)
    teacher, card = load_network(TEACHER)
    found: list[Tensor] = []
    teacher.head.register_forward_hook(lambda _m, given, _out: found.append(given[0]))  # type: ignore[union-attr, operator]
    clean = build_inputs(faces, card)
    with torch.no_grad():
        teacher(clean)
        teacher(clean.flip(3))
    mirrored = STILL * torch.tensor([[-1.0, 1, 1], [1, 1, 1]])
    warps = torch.stack([STILL, mirrored] * 4 + [STILL] * 8)
    given = objective._features(replace(batch, warps=warps, x=torch.zeros_like(batch.x)))
    wanted = torch.where((warps[:, :1, 0] < 0), found[1], found[0])
    torch.testing.assert_close(given, wanted, atol=1e-4, rtol=1e-4)
    rows = torch.tensor([5, 3])
    some = objective._features(Batch(batch.x[:2], batch.targets[:2], batch.warps[:2], rows))
    torch.testing.assert_close(some, found[0][rows], atol=1e-4, rtol=1e-4)
    assert (found[0] - found[1]).abs().max() > 0.01


@pytest.mark.parametrize("label", [0.0, 0.5])
def test_stage_one_sees_the_label_only_where_it_may(
    faces: FaceSet, batch: Batch, label: float
) -> None:
    """Z of other labels is the same Z without `label`; the target of stage 2 never has one."""
    objective = objective_of(make_twin(label=label), faces)
    other = replace(batch, targets=batch.targets.flip(0))

    def corrupted(given: Batch) -> Tensor:
        torch.manual_seed(3)
        return objective._corrupt_prior(given)[0]

    assert torch.equal(corrupted(batch), corrupted(other)) == (label == 0)
    assert not objective.true_prior(objective._features(batch)).requires_grad


def test_trust_is_what_the_noise_leaves(make_faces: Callable[..., FaceSet]) -> None:
    made, many = make_twin(network={"prior": 64}), make_faces(100)
    objective, batch = objective_of(made, many), batch_of(many, made[1])
    torch.manual_seed(3)
    z, trust = objective._corrupt_prior(batch)
    wanted = objective.true_prior(objective._features(batch))
    cosine = torch.nn.functional.cosine_similarity(z.detach(), wanted, dim=1)
    present = trust[:, 0] > 0
    assert 0.8 < float(present.float().mean()) < 0.97
    assert float(trust[present].min()) >= 0.3
    assert float((cosine - trust[:, 0])[present].abs().mean()) < 0.15


@pytest.mark.parametrize("restorer", ["diffusion", "mlp", "none"])
@pytest.mark.parametrize("stage", ["s1", "s2"])
def test_what_a_stage_moves_gets_a_gradient(
    faces: FaceSet, batch: Batch, stage: str, restorer: str
) -> None:
    objective = objective_of(make_twin(label=0.25, network={"restorer": restorer}), faces)
    for former in (objective.with_twin.former, objective.without.former):
        for film in former.films:  # type: ignore[union-attr]
            nn.init.normal_(film.weight, std=0.1)  # type: ignore[arg-type, union-attr]
    objective.start_stage(stage)
    given = objective.parameters(stage)
    objective.loss(stage, batch).backward()  # type: ignore[no-untyped-call]
    names = {id(value): name for name, value in objective.network.named_parameters()}
    assert [names[id(v)] for v in given if v.grad is None] == []
    reached = {names[id(v)] for v in given if v.grad is not None and v.grad.any()}
    part = "with_twin.fpen" if stage == "s1" else "without.restorer.fpen"
    assert any(name.startswith(part) for name in reached)
    others = {"s1": objective.without, "s2": objective.with_twin}[stage]
    assert all(value.grad is None for value in others.parameters())
    assert all(value.grad is None for value in objective._teacher.parameters())


def test_no_label_reaches_the_answers_of_stage_two(faces: FaceSet, batch: Batch) -> None:
    found = []
    for given in (batch, replace(batch, targets=batch.targets.flip(0))):
        objective = objective_of(make_twin(label=0.25), faces)
        objective.start_stage("s2")
        logits: list[Tensor] = []
        former = objective.without.former
        former.head.register_forward_hook(lambda _m, _given, out, to=logits: to.append(out))
        torch.manual_seed(9)
        objective.loss("s2", given)
        found.append(logits[0])
    assert torch.equal(*found)


def test_the_loss_of_stage_two_by_hand(faces: FaceSet, batch: Batch) -> None:
    """Cross-entropy and 1 - cosine; what is trusted follows the cosine."""
    losses = {}
    for weight in (0.0, 1.0, 2.0):
        objective = objective_of(make_twin(cosine=weight), faces)
        objective.start_stage("s2")
        objective.without.trust.fill_(0.5)
        torch.manual_seed(3)
        losses[weight] = float(objective.loss("s2", batch).detach())
        cosine = float(objective._cosines[0])
        trusted = 0.5 + 0.02 * (max(cosine, 0) - 0.5)
        assert float(objective.without.trust[0]) == pytest.approx(trusted, abs=1e-6)
        assert objective.train_metrics() == {"z_cosine": pytest.approx(cosine, abs=1e-5)}
        assert objective.train_metrics() == {}
    assert losses[1] - losses[0] == pytest.approx(1 - cosine, abs=1e-5)
    assert losses[2] - losses[1] == pytest.approx(1 - cosine, abs=1e-5)


def test_stage_two_starts_from_stage_one(faces: FaceSet, batch: Batch) -> None:
    objective = objective_of(make_twin(), faces)
    objective.start_stage("s2")
    ours, theirs = objective.without.former, objective.with_twin.former
    for name, value in theirs.state_dict().items():
        assert torch.equal(value, ours.state_dict()[name])
    assert float(objective.without.trust[0]) == pytest.approx(0.3)
    objective.network.eval()
    assert objective.logits("s1", batch.x, np.arange(16)) is None
    found = objective.logits("s2", batch.x, np.arange(16))
    assert found is not None
    assert found.shape == (16, 8)


def test_what_cannot_be_trained_is_refused() -> None:
    recipe, card = make_twin()
    with pytest.raises(DataError, match="was trained under displays"):
        build_objective(*make_twin(teacher="resnet18-w36-udc"))
    with pytest.raises(ModelError, match="features of lrdif"):
        build_objective(*make_twin(teacher="lrdif"))
    with pytest.raises(DataError, match="a teacher with input_px 48, the student has 32"):
        build_objective(recipe, replace(card, input_px=32))
    for model, network in (("lrdif", {"prior": 16}), ("resnet18", {"width": 8})):
        with pytest.raises(ModelError, match="give lrdif with a trunk"):
            build_objective(recipe, replace(card, model=model, network=network))


def test_a_run_starts_from_the_zoo_and_its_card_names_both_networks(
    make_faces: Callable[..., FaceSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "select_dtype", lambda threads: torch.float32)
    monkeypatch.setattr(run, "keep_freed_memory", lambda: None)
    preset = find_preset("lrdif", "twin-udc")
    # A learning rate of nothing: what is written is what it started from.
    stages = tuple(replace(one, epochs=1, batch=16, lr=1e-12) for one in preset.stages)
    out = tmp_path / "w.safetensors"
    card = run.train_weights(
        "tiny", replace(preset, stages=stages), make_faces(40), 0, out, tmp_path / "run"
    )
    digests = {
        name: hashlib.sha256(find_weights(name).read_bytes()).hexdigest()
        for name in ("resnet18-w36", "resnet18-w36-udc")
    }
    assert card.encoders == digests == read_card(out).encoders
    plain, trained = (read_state(path) for path in (find_weights("resnet18-w36-udc"), out))
    assert not any("label" in name or "twin" in name for name in trained)
    for name, value in plain.items():
        if "running" not in name and "batches" not in name:
            torch.testing.assert_close(trained[f"former.{name}"], value, atol=1e-3, rtol=1e-2)
    assert 0.2 < float(trained["trust"][0]) < 0.4
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    assert load_classifier(str(out)).predict(crops).probabilities.shape == (3, 8)


class StoppedError(Exception):
    """The power goes out."""


def test_a_resumed_run_is_bitwise_the_same(
    make_faces: Callable[..., FaceSet], tmp_path: Path
) -> None:
    recipe, card = make_twin(epochs=2, label=0.25)

    def go(folder: str, stop: tuple[str, int] | None = None) -> State:
        def report(line: dict[str, object]) -> None:
            if (line["stage"], line["epoch"]) == stop:
                raise StoppedError

        faces = make_faces(32)
        return train(recipe, card, faces, None, 0, tmp_path / folder, report=report).state

    whole = go("whole")
    for stage, epoch in itertools.product(("s1", "s2"), (1, 2)):
        with pytest.raises(StoppedError):
            go(f"{stage}{epoch}", (stage, epoch))
        torch.manual_seed(1)
        resumed = go(f"{stage}{epoch}")
        assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.slow
@pytest.mark.parametrize("restorer", ["diffusion", "mlp"])
def test_both_stages_learn_faces_by_heart_and_stage_two_uses_z(restorer: str) -> None:
    made = make_twin(network={"restorer": restorer}, absent=0.0)
    learnt = toy_faces(32)
    objective, batch = objective_of(made, learnt), batch_of(learnt, made[1])
    labels = batch.targets.argmax(dim=1)
    for stage, steps in (("s1", 100), ("s2", 250)):
        objective.start_stage(stage)
        optimizer = torch.optim.AdamW(objective.parameters(stage), lr=3e-3, weight_decay=0.0)
        objective.network.train()
        for _ in range(steps):
            optimizer.zero_grad()
            objective.loss(stage, batch).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    objective.network.eval()
    assert objective.train_metrics()["z_cosine"] > 0.3
    with torch.no_grad():
        logits = objective.logits("s2", batch.x, np.arange(32))
        assert logits is not None
        assert float((logits.argmax(dim=1) == labels).float().mean()) >= 0.98
        z = objective.without.restore(batch.x, torch.randn(32, 16))
        wanted = objective.true_prior(objective._features(batch))
        cosine = torch.nn.functional.cosine_similarity(z, wanted, dim=1)
    assert float(cosine.mean()) > 0.9
    assert float(objective.without.trust[0]) == pytest.approx(float(cosine.mean()), abs=0.1)
    former = objective.without.former
    assert isinstance(former, ModulatedResNet)
    assert isinstance(objective.without, LRDif)
    assert all(film.weight.any() for film in former.films)  # type: ignore[union-attr, operator]
