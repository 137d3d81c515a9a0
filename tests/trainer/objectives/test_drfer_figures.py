"""What figures of a run show is what the run has: its weights, its table, its own folds."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.crops import GEOMETRY
from models.emotions import EMOTIONS
from models.weights import ModelCard
from trainer.data.label_noise import with_labels
from trainer.errors import DataError
from trainer.loop import train
from trainer.objectives.drfer.figures import FinishedRun
from trainer.recipes import Augment, Recipe, Stage
from trainer.run import toy_faces

NETWORK = {"width": 8, "stem_stride": 2, "embedding": 16, "dropout": 0.0}
FACES = with_labels(toy_faces(96), "symmetric:0.2")


def finish(tmp_path: Path, **objective: object) -> FinishedRun:
    stages = tuple(
        Stage(name, 1, batch=32, resolution=((0.0, 16),)) for name in ("warmup", "rounds", "fit")
    )
    settings = {"every": 1, "gallery": 5, **objective}
    recipe = Recipe(
        "drfer", NETWORK, stages, input_px=16, augment=Augment(erase_px=(2, 4)), objective=settings
    )
    card = ModelCard(
        *("tiny", "drfer", NETWORK, EMOTIONS, 16, 1, (0.5,), (0.25,), GEOMETRY, "made", "none")
    )
    train(recipe, card, FACES, None, 0, tmp_path)
    return FinishedRun(replace(card, recipe=asdict(recipe)), tmp_path, FACES)


@pytest.mark.parametrize("normalised", [True, False])
def test_only_hidden_pixels_are_painted(tmp_path: Path, normalised: bool) -> None:
    run = finish(tmp_path, normalised=normalised)
    painted = run.paint_faces([0, 5])
    hidden = painted.hidden != painted.true
    assert hidden.mean() == pytest.approx(0.5, abs=0.05)
    assert (painted.painted[~hidden] == painted.true[~hidden]).all()
    assert (painted.painted[hidden] != painted.true[hidden]).mean() > 0.9
    assert 0 <= painted.painted.min() < painted.painted.max() <= 1
    again = run.paint_faces([0, 5])
    assert (again.painted == painted.painted).all()


def test_a_face_retrieves_clean_ones_of_its_own_fold_and_not_itself(tmp_path: Path) -> None:
    run = finish(tmp_path, mim=0.0)
    rows = run.list_noisy(9)
    assert len(set(rows)) == 9
    labels = run.samples.votes.argmax(dim=1)
    assert len(set(labels[rows[:8]].tolist())) == 8
    folds, is_clean = run._objective._folds, run.samples.kept["is_clean"]
    for one in run.retrieve(rows, 3):
        assert one.row not in one.neighbours
        assert is_clean[one.neighbours].all()
        assert (folds[one.neighbours] == folds[one.row]).all()
        assert one.precisions.shape == (8,)
        assert ((one.precisions >= 0) & (one.precisions <= 1)).all()
        assert FACES.truth is not None
        assert (one.label, one.truth) == (FACES.labels[one.row], FACES.truth[one.row])
        assert one.p_clean == pytest.approx(float(run.samples.p_clean[one.row]))
    with pytest.raises(DataError, match="a run without masks"):
        run.paint_faces([0])


def test_runs_of_others_are_refused(tmp_path: Path) -> None:
    run = finish(tmp_path)
    card = run._card
    with pytest.raises(DataError, match="a table of other faces"):
        FinishedRun(card, tmp_path, replace(FACES, ids=FACES.ids + 1))
    wider = replace(card, network=NETWORK | {"embedding": 8})
    with pytest.raises(DataError, match="a run of another network"):
        FinishedRun(wider, tmp_path, FACES)
    (tmp_path / "rounds.safetensors").write_bytes(b"")
    with pytest.raises(DataError, match="no checkpoint: .*: give the run directory"):
        FinishedRun(card, tmp_path, FACES)
    assert torch.is_grad_enabled()
    assert np.isfinite(FACES.targets).all()
