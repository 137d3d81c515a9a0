"""`train_weights` whole: toy faces in; out come weights that load, score and say where from."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.crops import GEOMETRY
from models.emotions import BASIC_SEVEN, EMOTIONS
from models.loading import as_classifier, load_classifier, load_network
from models.udc.suites import conditions
from models.weights import ModelCard, read_card, read_state
from trainer import run
from trainer.compare.evaluate import apply_condition, mark_correct, predict, tabulate_condition
from trainer.data.faceset import FaceSet
from trainer.data.ferplus import select_validation_cut
from trainer.distributed import SINGLE_PROCESS
from trainer.errors import DataError
from trainer.loop import TrainingResult, train
from trainer.presets import find_preset
from trainer.recipes import RandomPanel, Recipe
from trainer.run import toy_faces, train_weights


@dataclass
class Run:
    """One training with the smoke preset: its card, its file, and what it reported."""

    card: ModelCard
    out: Path
    lines: list[dict[str, Any]]
    kept_memory: int


@pytest.fixture(scope="module", autouse=True)
def quickly() -> Generator[list[int]]:
    """The probe has a test of its own, and the allocator of the test process is left alone."""
    kept: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "select_dtype", lambda threads: torch.float32)
        patch.setattr(run, "keep_freed_memory", lambda: kept.append(1))
        yield kept


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, quickly: list[int]) -> Run:
    folder = tmp_path_factory.mktemp("toy")
    out, lines = folder / "new" / "toy.safetensors", []
    recipe = find_preset("resnet18", "smoke")
    recipe = replace(recipe, stages=(replace(recipe.stages[0], epochs=4),))
    card = train_weights(
        "toy", recipe, toy_faces(), 3, out, folder / "run", threads=1, report=lines.append
    )
    return Run(card, out, lines, len(quickly))


def test_toy_faces_are_learnt(toy: Run) -> None:
    others = toy_faces(400, seed=1)
    predictions = predict(load_classifier(str(toy.out)), others)
    assert mark_correct(predictions, others).mean() >= 0.95
    assert toy.lines[1]["loss"] > toy.lines[-1]["loss"]


def test_the_card_says_where_the_weights_are_from(toy: Run) -> None:
    card = read_card(toy.out)
    assert card == toy.card
    cut = int(select_validation_cut(toy_faces()).sum())
    assert card.data == f"toy labels, {640 - cut} faces, {cut} in validation cut"
    assert 40 < cut < 64
    assert card.data_terms == "not stated"
    assert (card.name, card.model, card.labels, card.crop) == (
        "toy",
        "resnet18",
        EMOTIONS,
        GEOMETRY,
    )
    assert card.recipe["seed"] == 3
    assert card.recipe["dtype"] == "float32"
    assert card.recipe["stages"][0]["epochs"] == 4
    assert 0.05 <= card.temperature < 1  # never wrong: as sure as is allowed


def test_the_card_names_the_commit(toy: Run) -> None:
    git = ["git", "-C", str(Path(run.__file__).parent)]
    if subprocess.run([*git, "rev-parse"], capture_output=True).returncode:
        assert toy.card.git == ""  # installed, not checked out
    else:
        subprocess.run([*git, "cat-file", "-e", f"{toy.card.git}^{{commit}}"], check=True)


def test_memory_is_kept_and_the_run_is_reported(toy: Run) -> None:
    assert toy.kept_memory == 1
    assert toy.lines[0] == {"dtype": "float32", "threads": 1}
    assert [line["epoch"] for line in toy.lines[1:]] == [1, 2, 3, 4]


def test_toy_faces_stay_what_they_are_in_a_mirror() -> None:
    faces, rng = toy_faces(2000), np.random.default_rng(0)
    assert set(faces.labels) == set(range(8))
    for label in rng.permutation(8):
        mean = faces.tiles[faces.labels == label].mean(axis=0)
        assert abs(mean - mean[:, ::-1]).max() < 8
        others = faces.tiles[faces.labels == (label + 1) % 8].mean(axis=0)
        assert abs(mean - others).max() > 50


Train = Callable[..., ModelCard]


@pytest.fixture
def train_tiny(make_recipe: Callable[..., Recipe], tmp_path: Path) -> Train:
    def go(faces: FaceSet, seed: int = 0) -> ModelCard:
        return train_weights(
            "tiny", make_recipe(), faces, seed, tmp_path / "w.safetensors", tmp_path / "run"
        )

    return go


def test_other_faces_in_the_run_directory_are_refused(
    train_tiny: Train, make_faces: Callable[..., FaceSet], tmp_path: Path
) -> None:
    """A finished run would otherwise be handed out again, under a card that names other data."""
    train_tiny(make_faces())
    old = (tmp_path / "w.safetensors").read_bytes()
    for faces, seed in ((make_faces(seed=4), 0), (make_faces(), 1)):
        with pytest.raises(DataError, match="another run directory"):
            train_tiny(faces, seed)
    assert (tmp_path / "w.safetensors").read_bytes() == old


def test_the_card_is_measured_on_the_weights_as_stored(
    train_tiny: Train, make_faces: Callable[..., FaceSet], tmp_path: Path
) -> None:
    faces = make_faces(300)
    card, cut = train_tiny(faces), faces[select_validation_cut(faces)]
    again = tabulate_condition(predict(load_classifier(str(tmp_path / "w.safetensors")), cut), cut)
    assert card.metrics == {"validation cut, horizontal-flip TTA": again}
    assert again["n"] == len(cut) > 20


def test_weights_for_displays_are_calibrated_and_measured_behind_them(
    make_recipe: Callable[..., Recipe], make_faces: Callable[..., FaceSet], tmp_path: Path
) -> None:
    faces, out = make_faces(300), tmp_path / "w.safetensors"
    recipe = replace(make_recipe(), panel=RandomPanel())
    card = train_weights("w", recipe, faces, 0, out, tmp_path / "run", threads=1)
    classifier, cut = load_classifier(str(out)), faces[select_validation_cut(faces)]
    seen = [apply_condition(cut, cell) for cell in conditions("udc")]
    tables = [tabulate_condition(predict(classifier, each), each) for each in seen]
    behind = card.metrics["validation cut, udc, horizontal-flip TTA"]
    for name, recall in behind["recall"].items():
        assert recall == pytest.approx(np.mean([t["recall"][name] for t in tables]), abs=1e-4)
    assert len(behind["recall"]) == 8
    for figure in ("accuracy", "macro_f1", "nll"):
        assert behind[figure] == pytest.approx(np.mean([t[figure] for t in tables]), abs=1e-4)
    clean = card.metrics["validation cut, horizontal-flip TTA"]
    assert clean == tabulate_condition(predict(classifier, cut), cut)
    for temperature in (0.9 * card.temperature, 1.1 * card.temperature):
        network, told = load_network(str(out))
        other = as_classifier(network, replace(told, temperature=temperature))
        likelihoods = [tabulate_condition(predict(other, each), each)["nll"] for each in seen]
        assert np.mean(likelihoods) > behind["nll"] - 1e-4


def test_weights_that_knew_real_panels_are_measured_under_them_too(
    make_recipe: Callable[..., Recipe], make_faces: Callable[..., FaceSet], tmp_path: Path
) -> None:
    faces, out = make_faces(300), tmp_path / "w.safetensors"
    recipe = replace(make_recipe(), panel=RandomPanel(real=0.2))
    card = train_weights("w", recipe, faces, 0, out, tmp_path / "run", threads=1)
    classifier, cut = load_classifier(str(out)), faces[select_validation_cut(faces)]
    for suite in ("udc", "udc_real"):
        tables = [
            tabulate_condition(predict(classifier, each), each)
            for each in (apply_condition(cut, cell) for cell in conditions(suite))
        ]
        found = card.metrics[f"validation cut, {suite}, horizontal-flip TTA"]
        assert found["nll"] == pytest.approx(np.mean([t["nll"] for t in tables]), abs=1e-4)


def test_the_validation_cut_is_not_trained_on(
    train_tiny: Train, make_faces: Callable[..., FaceSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[FaceSet] = []

    def spy(
        recipe: Any, card: Any, faces: FaceSet, validation: FaceSet, *rest: Any
    ) -> TrainingResult:
        given.extend([faces, validation])
        return train(recipe, card, faces, validation, *rest)

    monkeypatch.setattr(run, "train", spy)
    faces = make_faces(300)
    train_tiny(faces)
    fitted, cut = (set(part.hashes()) for part in given)
    assert cut == set(faces[select_validation_cut(faces)].hashes())
    assert not fitted & cut
    assert fitted | cut == set(faces.hashes())


def test_too_few_faces_for_a_validation_cut(
    train_tiny: Train, make_faces: Callable[..., FaceSet], tmp_path: Path
) -> None:
    card = train_tiny(make_faces(20))
    assert card.metrics == {}
    assert card.temperature == 1
    assert card.data == "made labels, 20 faces, 0 in validation cut"
    assert len(read_state(tmp_path / "w.safetensors")) > 10


def test_seven_classes_make_weights_of_seven(
    train_tiny: Train, make_faces: Callable[..., FaceSet], tmp_path: Path
) -> None:
    faces = make_faces(40, classes=BASIC_SEVEN)
    assert train_tiny(faces).labels == BASIC_SEVEN
    predictions = predict(load_classifier(str(tmp_path / "w.safetensors")), faces)
    assert predictions.probabilities.shape == (40, 7)


def test_a_run_keeps_the_number_format_that_it_began_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine finds now the one faster, now the other: a resumed run would be another."""
    found = [torch.bfloat16, torch.float32]
    monkeypatch.setattr(run, "select_dtype", lambda threads: found.pop(0))
    monkeypatch.setattr(run, "bfloat16_is_supported", lambda: True)
    assert run.settle_dtype(tmp_path, SINGLE_PROCESS) == torch.bfloat16
    assert run.settle_dtype(tmp_path, SINGLE_PROCESS) == torch.bfloat16
    assert len(found) == 1
    monkeypatch.setattr(run, "bfloat16_is_supported", lambda: False)
    with pytest.raises(DataError, match="a run in bfloat16, which this machine lacks: .*: resume"):
        run.settle_dtype(tmp_path, SINGLE_PROCESS)
    (tmp_path / "dtype").write_text("float8", encoding="ascii")
    with pytest.raises(DataError, match="number format 'float8': .*: give float32 or bfloat16"):
        run.settle_dtype(tmp_path, SINGLE_PROCESS)
