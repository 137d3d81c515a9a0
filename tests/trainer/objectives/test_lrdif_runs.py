"""Whole runs of LRDif: resumed bitwise, each stage its own part, and what serves of it all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from models.loading import build_network, load_classifier
from models.lrdif.classifier import LRDifClassifier
from models.weights import ModelCard, State, read_card, read_state
from trainer import run
from trainer.data.faceset import FaceSet
from trainer.loop import TrainingResult, train
from trainer.objectives import landmarks
from trainer.recipes import Recipe

Made = tuple[Recipe, ModelCard]
MakeLRDif = Callable[..., Made]
MakeFaces = Callable[..., FaceSet]
Keep = Callable[[FaceSet, Path], None]
Moved = Callable[[State, State], set[str]]
STAGES = ("points", "s1", "s2a", "s2")


class StoppedError(Exception):
    """The power goes out."""


@pytest.fixture
def go(
    make_lrdif: MakeLRDif, make_faces: MakeFaces, keep_made_points: Keep, tmp_path: Path
) -> Callable[..., TrainingResult]:
    """Train the small LRDif on 32 faces of noise, until `stop` (stage, epoch)."""

    def trained(
        folder: str = "run", stop: tuple[str, int] | None = None, **made: object
    ) -> TrainingResult:
        def report(line: dict[str, object]) -> None:
            if (line["stage"], line["epoch"]) == stop:
                raise StoppedError

        recipe, card = make_lrdif(**made)
        faces, run_dir = make_faces(32), tmp_path / folder
        keep_made_points(faces, run_dir)
        return train(recipe, card, faces, make_faces(10, seed=1), 0, run_dir, report=report)

    return trained


def test_a_resumed_run_is_bitwise_the_same_in_every_stage(
    go: Callable[..., TrainingResult], tmp_path: Path, moved: Moved
) -> None:
    whole = go("whole")
    for stage in STAGES:
        with pytest.raises(StoppedError):
            go(stage, stop=(stage, 1))
        torch.manual_seed(1)  # another process would stand elsewhere in its random numbers
        resumed = go(stage)
        assert moved(whole.state, resumed.state) == set()
        assert whole.history == resumed.history
        for name in STAGES:
            files = [tmp_path / folder / f"{name}.safetensors" for folder in ("whole", stage)]
            assert files[0].read_bytes() == files[1].read_bytes()


def test_a_run_goes_on_within_a_stage(go: Callable[..., TrainingResult], moved: Moved) -> None:
    stages = ("points", "s1", "s2")
    whole = go("whole", stages=stages, epochs=2)
    for stage in stages[1:]:
        with pytest.raises(StoppedError):
            go(stage, stop=(stage, 1), stages=stages, epochs=2)
        torch.manual_seed(1)
        assert moved(whole.state, go(stage, stages=stages, epochs=2).state) == set()


def average_of(path: Path) -> State:
    """The averaged weights in a checkpoint."""
    state = read_state(path)
    return {n.removeprefix("average/"): v for n, v in state.items() if n.startswith("average/")}


def test_each_stage_leaves_alone_what_is_not_its_own(
    go: Callable[..., TrainingResult], tmp_path: Path, moved: Moved
) -> None:
    """Weights and running statistics: landmarks after points, the teacher after stage 1."""
    trained = go()
    after = {stage: average_of(tmp_path / "run" / f"{stage}.safetensors") for stage in STAGES}
    landmarks = "with_label.former.dil.landmarks."
    fixed = {name for name in after["points"] if name.startswith(landmarks)}
    assert {"running_mean", "num_batches_tracked"} <= {name.rpartition(".")[2] for name in fixed}
    for stage in STAGES[1:]:
        for name in fixed:
            assert torch.equal(after[stage][name], after["points"][name])
    for name in fixed:
        served = name.removeprefix("with_label.")
        assert torch.equal(trained.state[served], after["points"][name])
    teacher = {name for name in after["s1"] if name.startswith("with_label.")}
    for stage in ("s2a", "s2"):
        assert all(torch.equal(after[stage][name], after["s1"][name]) for name in teacher)
    assert moved(after["points"], after["s1"]) == {
        "with_label.encoder.layers", "with_label.label.table", "with_label.fpen.0",
        "with_label.fpen.2", "with_label.former.dt", "with_label.former.dil",
        "with_label.former.fusion", "with_label.former.head",
    }  # fmt: skip
    own = moved(after["s2a"], after["s2"])
    assert all(name.startswith("without.") for name in own)
    assert {"without.former.dt", "without.restorer.denoiser", "without.encoder.layers"} <= own


def test_an_average_differs_only_in_what_moves(
    go: Callable[..., TrainingResult], tmp_path: Path, moved: Moved
) -> None:
    go(stages=("points", "s1"))
    path = tmp_path / "run" / "s1.safetensors"
    state, average = read_state(path), average_of(path)
    raw = {n.removeprefix("network/"): v for n, v in state.items() if n.startswith("network/")}
    assert moved(raw, average) == moved(average, raw) != set()
    assert not any(name.startswith("without") for name in moved(raw, average))


def test_what_serves_holds_nothing_that_saw_a_label(
    make_lrdif: MakeLRDif, make_faces: MakeFaces, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, keep_made_points: Keep,
) -> None:  # fmt: skip
    monkeypatch.setattr(run, "select_dtype", lambda threads: torch.float32)
    monkeypatch.setattr(run, "keep_freed_memory", lambda: None)
    monkeypatch.setattr(landmarks, "annotate", keep_made_points)
    recipe, card = make_lrdif()
    out = tmp_path / "w.safetensors"
    run.train_weights("tiny", recipe, make_faces(40), 0, out, tmp_path / "run")
    state = read_state(out)
    assert state.keys() == build_network(card).state_dict().keys()
    assert not any("label" in name for name in state)
    assert not any("with_label" in name for name in state)
    assert read_card(out).model == "lrdif"
    loaded = load_classifier(str(out))
    assert isinstance(loaded, LRDifClassifier)
    assert loaded.mode == "lrdif-4-flip"
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    assert loaded.predict(crops).probabilities.shape == (3, 8)
