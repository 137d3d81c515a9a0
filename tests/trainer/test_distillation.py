"""Distillation: targets by hand, teachers that fit, and a student that learns from them alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.crops import crops_from_tiles
from models.loading import build_network, load_classifier, load_network
from models.weights import ModelCard, save
from trainer import run
from trainer.batches import AugmentedBatches
from trainer.compare.evaluate import mark_correct, predict
from trainer.data.faceset import FaceSet
from trainer.distillation import TeacherEnsemble, make_distillation, open_teachers
from trainer.errors import DataError
from trainer.loop import train
from trainer.objectives.base import Batch, SoftLabels
from trainer.objectives.softmax import SoftmaxObjective
from trainer.presets import find_preset
from trainer.recipes import Augment, Distillation, RandomPanel, Recipe, Stage
from trainer.run import toy_faces, train_weights

MakeRecipe = Callable[..., Recipe]


class Constant:
    """Predicts the same for every face, and records its inputs."""

    def __init__(self, card: ModelCard, *logits: float) -> None:
        self.card, self._logits = card, torch.tensor(logits)
        self.calls: list[tuple[torch.Size, list[int]]] = []

    def logits(self, x: Tensor, ids: NDArray[np.int64]) -> Tensor:
        self.calls.append((x.shape, ids.tolist()))
        return self._logits.expand(len(x), -1)


def batch_of(px: int) -> Batch:
    votes = torch.tensor([[1.0] + [0.0] * 7, [0.0, 1.0] + [0.0] * 6])
    return Batch(torch.randn(2, 1, px, px), votes, torch.zeros(2, 2, 3), torch.tensor([7, 3]))


def test_targets_by_hand(tiny_card: ModelCard) -> None:
    """One teacher is certain of 2; one, at temperature 2, gives 0 four times as much as others."""
    sure = Constant(tiny_card, *(100.0 if k == 2 else 0.0 for k in range(8)))
    warm = Constant(replace(tiny_card, temperature=2.0), 2 * float(np.log(4)), *[0.0] * 7)
    batch = batch_of(24)
    distilled = TeacherEnsemble([sure, warm], 0.25)(batch)
    mean = torch.full((8,), 1 / 22)
    mean[0], mean[2] = 4 / 22, 1 / 22 + 0.5
    torch.testing.assert_close(distilled.targets, 0.75 * batch.targets + 0.25 * mean)
    assert distilled.x is batch.x
    assert distilled.rows is batch.rows
    assert sure.calls == [(torch.Size([2, 1, 24, 24]), [7, 3])]


def test_soft_labels_by_hand(tiny_card: ModelCard) -> None:
    """At temperature 3 a class with 64 times the odds has 4 times; the votes stay the targets."""
    batch = batch_of(24)
    teacher = Constant(replace(tiny_card, temperature=2.0), 2 * float(np.log(64)), *[0.0] * 7)
    taught = TeacherEnsemble([teacher], 0.25, temperature=3.0)(batch)
    soft = taught.soft_labels
    assert soft is not None
    assert taught.targets is batch.targets
    assert (soft.weight, soft.temperature) == (0.25, 3.0)
    torch.testing.assert_close(soft.probabilities, torch.tensor([[4.0] + [1.0] * 7] * 2) / 11)


def test_the_loss_of_soft_labels(tiny_card: ModelCard) -> None:
    """(1 - weight) cross-entropy with the votes + weight T^2 that with the soft labels, both of
    logits over T; at T = 1 it is the cross-entropy with mixed targets."""
    torch.manual_seed(0)
    objective = SoftmaxObjective(Recipe("resnet18", tiny_card.network, ()), tiny_card)
    objective.network.eval()
    batch, soft = batch_of(24), torch.softmax(torch.randn(2, 8), dim=1)
    logits = objective.logits("fit", batch.x, batch.rows.numpy())
    assert logits is not None
    expected = -0.75 * (batch.targets * logits.log_softmax(1)).sum(1).mean()
    expected -= 0.25 * 9 * (soft * (logits / 3).log_softmax(1)).sum(1).mean()
    loss = objective.loss("fit", replace(batch, soft_labels=SoftLabels(soft, 0.25, 3.0)))
    torch.testing.assert_close(loss, expected)
    plain = objective.loss("fit", replace(batch, soft_labels=SoftLabels(soft, 0.25, 1.0)))
    mixed = replace(batch, targets=torch.lerp(batch.targets, soft, 0.25))
    torch.testing.assert_close(plain, objective.loss("fit", mixed))


def test_soft_labels_are_refused_where_no_loss_reads_them(
    made_teacher: Path, tiny_card: ModelCard, make_faces: Callable[..., FaceSet], tmp_path: Path
) -> None:
    how = make_distillation([str(made_teacher)], 0.5, temperature=2.0)
    recipe = Recipe("resnet18", tiny_card.network, (Stage("fit", 1, batch=4),), distillation=how)
    recipe = replace(recipe, objective={"name": "eac"})
    with pytest.raises(DataError, match="eac does not learn from soft labels: --distill-temp"):
        train(recipe, tiny_card, make_faces(), None, 1, tmp_path / "run")


def test_a_shrunk_picture_is_brought_back(tiny_card: ModelCard) -> None:
    teacher = Constant(tiny_card, *[0.0] * 8)
    distilled = TeacherEnsemble([teacher], 1.0)(batch_of(12))
    torch.testing.assert_close(distilled.targets, torch.full((2, 8), 1 / 8))
    assert teacher.calls[0][0] == (2, 1, 24, 24)
    assert distilled.x.shape == (2, 1, 12, 12)


@pytest.fixture
def made_teacher(tiny_card: ModelCard, tmp_path: Path) -> Path:
    path = tmp_path / "teacher.safetensors"
    save(path, tiny_card, build_network(tiny_card).state_dict())
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"input_px": 48}, "a teacher with input_px 24, the student has 48: .*: give teachers"),
        ({"mean": (0.4,)}, r"a teacher with mean \(0.5,\)"),
        ({"labels": ("a", "b")}, "a teacher with labels"),
        ({"crop": "aligned-5-1.0"}, "a teacher with crop 'square-1.0', the student has 'aligned"),
        ({"recipe": {"panel": {"share": 0.75}}}, "only one was trained under displays"),
    ],
    ids=str,
)
def test_a_teacher_of_another_kind_is_refused(
    made_teacher: Path, tiny_card: ModelCard, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        open_teachers(make_distillation([str(made_teacher)], 0.5), replace(tiny_card, **changes))


@pytest.mark.parametrize("view", ["same", "clean"])
def test_a_teacher_of_another_size_is_given_its_own_input(
    tiny_card: ModelCard, make_faces: Callable[..., FaceSet], tmp_path: Path, view: str
) -> None:
    """A student of 48 pixels and a teacher of 96 in three channels, normalised in another way: the
    targets are what serving the teacher's weights predicts of the same faces; with the clean view,
    whatever warps and displays do to the student's images."""
    wide = {"input_px": 96, "channels": 3, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)}
    network = tiny_card.network | {"channels": 3}
    card = replace(tiny_card, network=network, temperature=0.5, **wide)
    torch.manual_seed(0)
    path = tmp_path / "wide.safetensors"
    save(path, card, build_network(card).state_dict())
    faces = make_faces(12)
    student = replace(tiny_card, input_px=48)
    still = Augment(0, 0, 0, 0, 0, 0, (0, 0))
    recipe = Recipe(student.model, student.network, (), augment=still)
    if view == "clean":
        recipe = replace(recipe, augment=Augment(), panel=RandomPanel(share=1.0))
    rows = torch.tensor([7, 0, 11, 3])
    batch = AugmentedBatches(faces, student, recipe)(rows, 32, torch.Generator().manual_seed(4))
    taught = open_teachers(make_distillation([str(path)], 1.0, view), student, faces=faces)(batch)
    tiles = faces.tiles[rows.numpy()]
    if view == "clean":  # classified once, mirrored where the batch mirrors it
        mirrored = batch.warps[:, 0, 0].numpy() < 0
        tiles[mirrored] = tiles[mirrored, :, ::-1]
    classifier = load_classifier(str(path), flip=view == "same")
    served = classifier.predict(crops_from_tiles(tiles)).probabilities
    torch.testing.assert_close(taught.targets, torch.from_numpy(served), atol=2e-4, rtol=0)
    assert np.ptp(served, axis=0).max() > 1e-3  # faces differ, so a mixed-up row would be seen
    small = functional.interpolate(batch.x, size=(96, 96), mode="bilinear").expand(-1, 3, -1, -1)
    with torch.no_grad():
        enlarged = torch.softmax(build_loaded(path)(small).float() / 0.5, dim=1)
    assert (enlarged - taught.targets).abs().max() > 1e-3


def test_a_teacher_of_the_same_input_judges_the_students_image(
    tiny_card: ModelCard, made_teacher: Path, make_faces: Callable[..., FaceSet]
) -> None:
    """With the faces at hand too: contrast and the erased square are its to see."""
    batch = replace(batch_of(24), targets=torch.full((2, 8), 1 / 8))
    how = make_distillation([str(made_teacher)], 1.0)
    with_faces = open_teachers(how, tiny_card, faces=make_faces())(batch)
    assert torch.equal(with_faces.targets, open_teachers(how, tiny_card)(batch).targets)


def test_a_teacher_of_another_size_sees_no_simulated_display(
    tiny_card: ModelCard, made_teacher: Path, make_faces: Callable[..., FaceSet]
) -> None:
    student = replace(tiny_card, input_px=48, recipe={"panel": {"share": 0.75}})
    with pytest.raises(DataError, match="another input.*: give --teacher-view clean"):
        open_teachers(make_distillation([str(made_teacher)], 0.5), student, faces=make_faces())
    clean = make_distillation([str(made_teacher)], 0.5, "clean")
    open_teachers(clean, student, faces=make_faces())
    with pytest.raises(ValueError, match="teachers of clean faces need the faces"):
        open_teachers(clean, replace(student, input_px=24))


def test_teachers_of_other_classes_are_refused(tiny_card: ModelCard, made_teacher: Path) -> None:
    student = replace(tiny_card, labels=tiny_card.labels[::-1])
    with pytest.raises(DataError, match="with labels .*: give teachers with the student's classes"):
        open_teachers(make_distillation([str(made_teacher)], 0.5), student)


def build_loaded(path: Path) -> torch.nn.Module:
    return load_network(str(path))[0]


def test_a_teacher_that_changed_is_refused(made_teacher: Path, tiny_card: ModelCard) -> None:
    settings = make_distillation([str(made_teacher)], 0.5)
    save(made_teacher, replace(tiny_card, name="other"), build_network(tiny_card).state_dict())
    with pytest.raises(DataError, match="the teacher's weights have changed"):
        open_teachers(settings, tiny_card)


@pytest.mark.parametrize(
    ("teachers", "weight", "temperature", "message"),
    [
        ((), 0.5, 1.0, "no teachers: --teacher:"),
        (("a",), 0.0, 1.0, "a weight of 0: --distill-weight:"),
        (("a",), 1.5, 1.0, "a weight of 1.5: --distill-weight:"),
        (("a",), 0.5, 0.5, "a temperature of 0.5: --distill-temperature:"),
    ],
)
def test_settings_that_are_refused(
    teachers: tuple[str, ...], weight: float, temperature: float, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Distillation(teachers, tuple("0" for _ in teachers), weight, temperature=temperature)


@pytest.mark.slow
def test_a_student_learns_from_teachers_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own labels are random; all of its targets come from a teacher trained on true ones."""
    monkeypatch.setattr(run, "select_dtype", lambda threads: torch.float32)
    monkeypatch.setattr(run, "keep_freed_memory", lambda: None)
    smoke = find_preset("resnet18", "smoke")
    smoke = replace(smoke, stages=(Stage("fit", epochs=5, batch=32),))
    out = [tmp_path / f"{name}.safetensors" for name in ("teacher", "student")]
    train_weights("teacher", smoke, toy_faces(), 0, out[0], tmp_path / "t", threads=1)
    faces = toy_faces(seed=2)
    random = np.random.default_rng(0).permutation(faces.labels)
    wrong = FaceSet.of_labels("wrong", faces.classes, faces.tiles, random)
    distilled = replace(smoke, distillation=make_distillation([str(out[0])], 1.0))
    card = train_weights("student", distilled, wrong, 0, out[1], tmp_path / "s", threads=1)
    assert card.recipe["distillation"]["teachers"] == [str(out[0])]
    others = toy_faces(300, seed=1)
    said = predict(load_classifier(str(out[1])), others)
    assert mark_correct(said, others).mean() >= 0.9


def test_a_stopped_student_goes_on_bitwise(
    made_teacher: Path,
    tiny_card: ModelCard,
    make_recipe: MakeRecipe,
    make_faces: Callable[..., FaceSet],
    tmp_path: Path,
) -> None:
    distilled = {"distillation": make_distillation([str(made_teacher)], 0.5)}
    recipe = make_recipe(distilled, epochs=2)
    whole = train(recipe, tiny_card, make_faces(), None, 0, tmp_path / "whole")

    def stop(line: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, tiny_card, make_faces(), None, 0, tmp_path / "run", report=stop)
    resumed = train(recipe, tiny_card, make_faces(), None, 0, tmp_path / "run")
    assert all(torch.equal(whole.state[name], resumed.state[name]) for name in whole.state)
    plain = train(make_recipe(epochs=2), tiny_card, make_faces(), None, 0, tmp_path / "plain")
    assert any(not torch.equal(whole.state[name], plain.state[name]) for name in whole.state)
