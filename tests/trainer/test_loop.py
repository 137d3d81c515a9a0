"""A run that is stopped and goes on is the run that was never stopped; its parts by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models.errors import ModelError
from models.weights import ModelCard, State
from trainer.data.faceset import FaceSet
from trainer.errors import DataError
from trainer.loop import RunOptions, TrainingResult, train
from trainer.optimisation import is_validation_due, one_cycle, resolution_at
from trainer.presets import find_preset
from trainer.recipes import Distillation, Recipe, Stage, hash_run
from trainer.validation import ValidationSplit

MakeFaces = Callable[..., FaceSet]
MakeRecipe = Callable[..., Recipe]


class StoppedError(Exception):
    """The power goes out."""


def stop_after(epoch: int) -> Callable[[dict[str, Any]], None]:
    def report(line: dict[str, Any]) -> None:
        if line["epoch"] == epoch:
            raise StoppedError

    return report


@pytest.fixture
def go(
    tiny_card: ModelCard, make_faces: MakeFaces, make_recipe: MakeRecipe, tmp_path: Path
) -> Callable[..., TrainingResult]:
    """Train on 40 made faces, in tmp_path/run unless `changes` say otherwise."""

    def run(**changes: Any) -> TrainingResult:
        given: dict[str, Any] = {
            "recipe": make_recipe(epochs=3),
            "card": tiny_card,
            "faces": make_faces(),
            "validation": make_faces(10, seed=1),
            "seed": 0,
            "run_dir": tmp_path / "run",
        }
        return train(**(given | changes))

    return run


def same(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_resumed_run_is_bitwise_the_same(
    go: Callable[..., TrainingResult], tmp_path: Path, epoch: int
) -> None:
    whole = go(run_dir=tmp_path / "whole")
    with pytest.raises(StoppedError):
        go(report=stop_after(epoch))
    torch.manual_seed(epoch)  # another process would stand elsewhere in its random numbers
    resumed = go()
    assert same(whole.state, resumed.state)
    assert whole.history == resumed.history
    files = [tmp_path / folder / "fit.safetensors" for folder in ("whole", "run")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_run_of_two_stages_goes_on_in_the_second(
    go: Callable[..., TrainingResult], make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    first = make_recipe().stages[0]
    recipe = make_recipe({"stages": (first, replace(first, name="tune", lr=1e-3))})
    whole = go(recipe=recipe, run_dir=tmp_path / "whole")
    lines: list[dict[str, Any]] = []

    def report(line: dict[str, Any]) -> None:
        lines.append(line)
        if (line["stage"], line["epoch"]) == ("tune", 1):
            raise StoppedError

    with pytest.raises(StoppedError):
        go(recipe=recipe, report=report)
    assert [(line["stage"], line["epoch"]) for line in lines] == [
        ("fit", 1), ("fit", 2), ("tune", 1),
    ]  # fmt: skip
    resumed = go(recipe=recipe)
    assert same(whole.state, resumed.state)
    assert [line["stage"] for line in resumed.history] == ["fit", "fit", "tune", "tune"]


def test_a_finished_run_is_not_trained_again(go: Callable[..., TrainingResult]) -> None:
    lines: list[dict[str, Any]] = []
    done = go()
    assert same(done.state, go(report=lines.append).state)
    assert lines == []


def test_same_seed_same_weights_other_seed_other(
    go: Callable[..., TrainingResult], tmp_path: Path
) -> None:
    first, again, other = (
        go(seed=seed, run_dir=tmp_path / str(run)).state for run, seed in enumerate([5, 5, 6])
    )
    assert same(first, again)
    assert not same(first, other)


def test_what_is_reported(go: Callable[..., TrainingResult]) -> None:
    lines: list[dict[str, Any]] = []
    trained = go(report=lines.append)
    assert trained.history == lines
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    for line in lines:
        assert line.keys() == {
            *("stage", "epoch", "epochs", "px", "loss", "lr", "accuracy", "recall")
        }
        assert 0 <= line["accuracy"] <= 1
        assert 1.0 < line["loss"] < 4.0  # noise: near log 8


@pytest.mark.parametrize("epochs", [1, 8, 19, 20, 37, 120])
def test_a_long_stage_is_measured_about_ten_times_and_at_its_end(epochs: int) -> None:
    measured = [
        done for done in range(1, epochs + 1) if is_validation_due(Stage("fit", epochs), done)
    ]
    assert measured[-1] == epochs
    assert len({later - done for done, later in pairwise(measured)}) <= 1
    assert min(epochs, 10) <= len(measured) < 20


def test_without_a_validation_split_nothing_is_measured(go: Callable[..., TrainingResult]) -> None:
    assert all("accuracy" not in line for line in go(validation=None).history)


def test_every_step_is_progress_and_none_of_it_changes_the_weights(
    go: Callable[..., TrainingResult], tmp_path: Path
) -> None:
    steps: list[tuple[str, int, int]] = []
    options = RunOptions(hardest=3, progress=lambda what, done, of: steps.append((what, done, of)))
    lines: list[dict[str, Any]] = []
    watched = go(options=options, report=lines.append, run_dir=tmp_path / "watched")
    assert steps == [(f"fit {epoch}/3", done, 2) for epoch in (1, 2, 3) for done in (1, 2)]
    assert [len(line["hardest"]) for line in lines] == [3, 3, 3]
    assert all("hardest" not in line for line in watched.history)
    assert same(watched.state, go().state)


def test_the_best_weights_are_those_of_the_epoch_that_was_best(
    go: Callable[..., TrainingResult], make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of three epochs; stopped after any of them, and asked only when all are done."""
    scores = {1: 0.25, 2: 0.75, 3: 0.5}
    states: dict[int, State] = {}
    evaluate = ValidationSplit.evaluate

    def scored(split: ValidationSplit, objective: Any, stage: str, state: State) -> Any:
        epoch = len(states) % 3 + 1 if len(states) < 3 else 3
        found = evaluate(split, objective, stage, state)
        states[epoch] = {name: value.clone() for name, value in state.items()}
        return replace(found, score=scores[epoch])

    monkeypatch.setattr(ValidationSplit, "evaluate", scored)
    for epoch in (1, 2):
        with pytest.raises(StoppedError):
            go(report=stop_after(epoch))
    last = go()
    assert (last.epoch, same(last.state, states[3])) == (3, True)
    best = go(options=RunOptions("best"))
    assert (best.epoch, same(best.state, states[2])) == (2, True)
    assert not same(best.state, last.state)


def test_without_a_score_the_last_weights_are_the_best(
    go: Callable[..., TrainingResult],
) -> None:
    done = go(validation=None, options=RunOptions("best"))
    assert (done.epoch, same(done.state, go(validation=None).state)) == (3, True)
    with pytest.raises(DataError, match="the 'worst' weights: --select: give last or best"):
        RunOptions("worst")


def test_learning_lowers_the_loss(
    go: Callable[..., TrainingResult], make_recipe: MakeRecipe, make_faces: MakeFaces
) -> None:
    """Four classes: a bright band in one of four heights."""
    faces = make_faces(96)
    labels = faces.labels % 4
    is_bright = np.arange(48)[None, :, None] // 12 == labels[:, None, None]
    tiles = np.broadcast_to(np.where(is_bright, 200, 60), (96, 48, 48)).astype(np.uint8)
    bands = FaceSet.of_labels("bands", faces.classes, tiles, labels)
    history = go(recipe=make_recipe(epochs=12, lr=0.01), faces=bands).history
    assert history[0]["loss"] > 1.0
    assert history[-1]["loss"] < 0.2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "run of another recipe or seed: .*fit.safetensors: train in another run"),
        ({"recipe": {"lr": 1e-4}}, "run of another recipe or seed"),
        ({"recipe": {"recipe": {"network": {"width": 16}}}}, "run of another recipe or seed"),
        ({"faces": {"seed": 9}}, "run on other faces: .*run: train in another run directory"),
        ({"faces": {"n": 41}}, "run on other faces"),
        ({"faces": {"n": 15}}, "15 faces to train on: made: a batch takes 16"),
    ],
    ids=str,
)
def test_another_run_in_the_directory_is_refused(
    go: Callable[..., TrainingResult],
    tiny_card: ModelCard,
    make_recipe: MakeRecipe,
    make_faces: MakeFaces,
    tmp_path: Path,
    change: dict[str, Any],
    message: str,
) -> None:
    go()
    old = (tmp_path / "run" / "fit.safetensors").read_bytes()
    if "recipe" in change:
        recipe = make_recipe(**({"epochs": 3} | change["recipe"]))
        change = {"recipe": recipe, "card": replace(tiny_card, network=recipe.network)}
    if "faces" in change:
        change = {"faces": make_faces(**change["faces"])}
    with pytest.raises(DataError, match=message):
        go(**change)
    assert (tmp_path / "run" / "fit.safetensors").read_bytes() == old


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_refused(
    go: Callable[..., TrainingResult], tmp_path: Path, content: bytes | None
) -> None:
    go()
    path = tmp_path / "run" / "fit.safetensors"
    path.write_bytes(path.read_bytes()[:-1000] if content is None else content)
    with pytest.raises(DataError, match=r"damaged checkpoint: .*fit\.safetensors: delete it"):
        go()


def test_a_loss_that_is_no_number_ends_the_run_and_leaves_the_checkpoint(
    go: Callable[..., TrainingResult], make_faces: MakeFaces, tmp_path: Path
) -> None:
    faces = make_faces()
    faces.targets[:] = np.nan
    with pytest.raises(ModelError, match="the loss is not a number: stage fit, epoch 1: lower"):
        go(faces=faces)
    assert not (tmp_path / "run" / "fit.safetensors").exists()


class PartlyDeaf(nn.Module):
    """`lost` is never asked; `still` is, and multiplied by nothing."""

    def __init__(self, lost: bool) -> None:
        super().__init__()
        self.head = nn.Linear(1, 8)
        self.still = nn.Linear(1, 8)
        if lost:
            self.lost = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean(dim=(1, 2, 3))[:, None]
        return torch.as_tensor(self.head(mean) + 0 * self.still(mean))


@pytest.mark.parametrize(
    ("lost", "message"), [(True, "no gradient for lost: .* step 1:"), (False, "still.*, step 50:")]
)
def test_a_parameter_that_the_loss_does_not_reach_ends_the_run(
    go: Callable[..., TrainingResult],
    make_recipe: MakeRecipe,
    monkeypatch: pytest.MonkeyPatch,
    lost: bool,
    message: str,
) -> None:
    monkeypatch.setattr("trainer.objectives.softmax.build_network", lambda card: PartlyDeaf(lost))
    with pytest.raises(ModelError, match=message):
        go(recipe=make_recipe(epochs=26), validation=None)  # two steps an epoch


OLD_RUNS = {
    ("lrdif", "cpu-udc"): "19f545b4dde1f64042c7b1229f14c04c3a19eac7e0f3063913ca9007be67475e",
    ("resnet18", "w32"): "fe0cf00139a5bd3673c18ce78fa2e3be33e406cbbadcbebb1d432128d49c778a",
    ("resnet18", "w32-40-udc"): "8297601abe9c28876829b894c7c8163f82614d7da693489750f19f55e30e63ee",
}
"""What runs of seed 1 wrote into their checkpoints before recipes had more fields."""


def test_what_was_added_to_recipes_since_lets_old_runs_go_on() -> None:
    for name, written in OLD_RUNS.items():
        assert hash_run(find_preset(*name), 1) == written
        distilled = replace(find_preset(*name), distillation=Distillation(("w",), ("0" * 64,)))
        assert hash_run(distilled, 1) not in OLD_RUNS.values()
        assert hash_run(
            replace(distilled, distillation=Distillation(("w",), ("1" * 64,))), 1
        ) != hash_run(distilled, 1)


def test_adam_keeps_its_rate(
    go: Callable[..., TrainingResult], make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(epochs=2, optimizer="adam", schedule="constant", lr=1e-3)
    whole = go(recipe=recipe, run_dir=tmp_path / "whole")
    assert [line["lr"] for line in whole.history] == [1e-3, 1e-3]
    assert not same(whole.state, go(recipe=make_recipe(epochs=2), run_dir=tmp_path / "w").state)
    with pytest.raises(StoppedError):
        go(recipe=recipe, report=stop_after(1))
    assert same(whole.state, go(recipe=recipe).state)


def test_one_cycle_rises_and_falls_without_a_jump() -> None:
    peak, steps = 3e-3, 4000
    rates = [one_cycle(step / steps, peak) for step in range(steps)]
    assert rates[0] == pytest.approx(peak / 25)
    assert max(rates) == pytest.approx(peak)
    assert rates.index(max(rates)) == steps // 4
    assert rates[-1] < peak * 1e-5
    assert one_cycle(1.0, peak) == pytest.approx(0, abs=1e-12)
    assert max(abs(b - a) for a, b in pairwise(rates)) < peak * math.pi / 1500
    rising = np.diff(rates) > 0
    assert rising[: steps // 4].all()
    assert not rising[steps // 4 :].any()


def test_resolution_by_shares_of_the_epochs() -> None:
    stage = Stage("fit", epochs=8, resolution=((0.0, 24), (0.5, 32), (0.75, 48)))
    assert [resolution_at(stage, epoch) for epoch in range(8)] == [24] * 4 + [32] * 2 + [48] * 2
    odd = replace(stage, epochs=5)
    assert [resolution_at(odd, epoch) for epoch in range(5)] == [24, 24, 24, 32, 48]


class OnFrame(nn.Module):
    """Notes the size of what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.head = nn.Linear(1, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sizes.append(x.shape[-1])
        return torch.as_tensor(self.head(x.mean(dim=(1, 2, 3))[:, None]))


def test_faces_are_shrunk_as_the_stage_says(
    go: Callable[..., TrainingResult], make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = OnFrame()
    monkeypatch.setattr("trainer.objectives.softmax.build_network", lambda card: seen)
    recipe = make_recipe(epochs=4, resolution=((0.0, 12), (0.5, 24)))
    lines = go(recipe=recipe, validation=None).history
    assert seen.sizes == [12] * 4 + [24] * 4  # 40 faces: two batches of 16 an epoch
    assert [line["px"] for line in lines] == [12, 12, 24, 24]
