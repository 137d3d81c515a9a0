"""Headroom is what a true Z gains over none, and a network that was never trained has none."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.prior_headroom import (
    compute_priors,
    make_recipe,
    measure,
    select_faces,
    train_stage_one,
)
from models.emotions import EMOTIONS
from trainer.data.faceset import FaceSet
from trainer.inputs import build_inputs
from trainer.recipes import Recipe

CELL = "udc_p/5"


@pytest.fixture
def faces() -> FaceSet:
    """Faces of noise, some of them in a validation cut."""
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (200, 48, 48), dtype=np.uint8)
    return FaceSet.of_labels("made", EMOTIONS, tiles, rng.integers(0, 8, 200))


@pytest.fixture
def brief() -> Recipe:
    """One epoch that moves nothing."""
    recipe = make_recipe("twin-udc", epochs=1, batch=16)
    assert [stage.name for stage in recipe.stages] == ["s1"]
    return replace(recipe, stages=(replace(recipe.stages[0], lr=1e-12),))


def test_a_part_of_the_faces_is_the_same_for_a_seed(faces: FaceSet) -> None:
    chosen = select_faces(faces, 20, seed=1)
    assert len(chosen) == 20
    assert np.array_equal(chosen.ids, select_faces(faces, 20, seed=1).ids)
    assert not np.array_equal(chosen.ids, select_faces(faces, 20, seed=2).ids)
    assert select_faces(faces, 0, seed=1) is faces


def test_a_panel_prior_has_a_true_and_a_wrong_z(faces: FaceSet, tmp_path: Path) -> None:
    recipe = make_recipe("panel-udc-real", epochs=1, batch=16)
    given = Namespace(threads=1, faces=32, seed=1, run_dir=tmp_path)
    objective, card, cut = train_stage_one(recipe, faces, None, given)
    clean = build_inputs(cut, card)
    at_clean, at_display = (compute_priors(objective, clean, cell) for cell in ("clean", CELL))
    assert at_clean[0].shape == (len(cut), objective.without.prior)
    assert torch.equal(at_clean[0], at_display[1])
    assert not torch.equal(at_display[0], at_display[1])
    assert set(measure(objective, card, cut, ("clean", CELL))["accuracy"]) == {"clean", CELL}


def test_z_gains_only_where_the_network_reads_it(
    faces: FaceSet, brief: Recipe, tmp_path: Path
) -> None:
    given = Namespace(threads=torch.get_num_threads(), faces=32, seed=1, run_dir=tmp_path)
    objective, card, cut = train_stage_one(brief, faces, None, given)
    assert 0 < len(cut) < 50
    for film in objective.with_twin.former.films:
        assert isinstance(film, nn.Linear)
        film.weight.data.zero_()
    found = measure(objective, card, cut, (CELL,))
    assert set(found["mean"]) == {"true Z", "wrong Z", "no Z"}
    assert len(set(found["mean"].values())) == 1
    assert found["gain over no Z"]["true Z"] == [0, 0, 0]
    # Z as the logits of its own label: every face is right, and the neighbour's Z is not.
    labels = torch.nn.functional.one_hot(torch.from_numpy(cut.labels), 8).float()
    order = iter([labels])
    objective.true_prior = lambda clean: next(order)  # type: ignore[method-assign]
    former = objective.with_twin.former
    former.classify = (
        lambda maps, weighed=None: (  # type: ignore[method-assign]
            torch.zeros(len(maps), 8) if weighed is None else weighed[:, :8]
        )
    )
    found = measure(objective, card, cut, (CELL,))
    assert found["mean"]["true Z"] == 1
    assert found["mean"]["no Z"] == pytest.approx(float((cut.labels == 0).mean()), abs=1e-4)
    gain, low, high = found["gain over no Z"]["true Z"]
    assert 0 < low <= gain <= high
