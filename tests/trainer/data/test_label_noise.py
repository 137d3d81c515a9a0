"""Label noise is drawn once a face, is as large as stated, and the truth stays beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from trainer.data.faceset import FaceSet
from trainer.data.ferplus import select_validation_cut
from trainer.data.label_noise import draw_votes, flip_labels, with_labels
from trainer.data.readers import open_faces
from trainer.errors import DataError, OptionError
from trainer.presets import find_preset
from trainer.run import load_faces, toy_faces

MakeFaces = Callable[..., FaceSet]


def test_a_class_is_drawn_as_often_as_it_has_votes() -> None:
    ids = np.arange(20_000)
    votes = np.tile([0, 6, 0, 3, 1], (len(ids), 1))
    drawn = draw_votes(votes, ids)
    shares = np.bincount(drawn, minlength=5) / len(ids)
    assert shares == pytest.approx([0, 0.6, 0, 0.3, 0.1], abs=4 * 0.0035)
    assert shares[0] == shares[2] == 0
    # By id, whatever else is in the set, and in which order.
    assert np.array_equal(draw_votes(votes[:50], ids[:50][::-1])[::-1], drawn[:50])


def test_a_share_of_the_labels_is_another_class_each_as_often() -> None:
    ids, labels = np.arange(20_000), np.full(20_000, 2)
    noisy = flip_labels(labels, ids, 0.2, 5)
    shares = np.bincount(noisy, minlength=5) / len(ids)
    assert shares == pytest.approx([0.05, 0.05, 0.8, 0.05, 0.05], abs=4 * 0.0028)
    assert np.array_equal(flip_labels(labels, ids, 0.0, 5), labels)
    assert (flip_labels(labels, ids, 1.0, 5) != labels).all()


@pytest.mark.parametrize("kind", ["one-vote", "symmetric:0.2"])
def test_the_cut_is_that_of_the_true_classes(make_faces: MakeFaces, kind: str) -> None:
    faces = make_faces(400)
    rng = np.random.default_rng(0)
    faces = replace(faces, votes=np.eye(8, dtype=int)[faces.labels] * 6 + rng.integers(0, 2, 8))
    noisy = with_labels(faces, kind)
    assert noisy.truth is not None
    assert 0 < (noisy.labels != faces.labels).mean() < 0.7
    assert np.array_equal(noisy.targets.argmax(axis=1), noisy.labels)
    assert np.array_equal(noisy.true_labels, faces.labels)
    assert np.array_equal(select_validation_cut(noisy), select_validation_cut(faces))
    half = noisy[::2].concatenate(faces[1::2])
    assert np.array_equal(half.true_labels, np.r_[faces.labels[::2], faces.labels[1::2]])
    assert half.truth is not None
    assert noisy.protocol == f"labels {kind}"


def test_votes_stay_votes_and_hard_labels_have_no_noise(make_faces: MakeFaces) -> None:
    faces = make_faces(30)
    soft = replace(faces, targets=np.full((30, 8), 0.125, np.float32))
    assert with_labels(soft, "votes") is soft
    hard = with_labels(soft, "hard")
    assert hard.truth is None
    assert np.array_equal(hard.targets, faces.targets)


@pytest.mark.parametrize("kind", ["vote", "symmetric", "symmetric:2", "symmetric:x", ""])
def test_unknown_labels_are_refused(make_faces: MakeFaces, kind: str) -> None:
    with pytest.raises(OptionError, match="--labels: give votes, hard, one-vote or symmetric"):
        with_labels(make_faces(3), kind)


def test_one_vote_needs_votes(make_faces: MakeFaces) -> None:
    with pytest.raises(DataError, match="faces without votes: made"):
        with_labels(make_faces(3), "one-vote")


def test_baselines_train_on_the_same_labels() -> None:
    """Also those whose recipe adds faces without a majority: they have no true class."""
    recipe = find_preset("resnet18", "scn-40")
    assert recipe.with_dropped
    faces, dropped = load_faces("toy", "ms_majority", recipe, "symmetric:0.2")
    assert dropped is None
    assert 0.1 < (faces.labels != toy_faces().labels).mean() < 0.3


@pytest.mark.needs("data")
def test_the_votes_of_fer_plus() -> None:
    """The share of wrong ones is that of the ballots themselves: one rater in five or so."""
    faces = open_faces("ferplus:public")
    noisy = with_labels(faces, "one-vote")
    assert faces.votes is not None
    right = faces.votes[np.arange(len(faces)), faces.labels] / faces.votes.sum(axis=1)
    error = np.sqrt((right * (1 - right)).sum()) / len(faces)
    assert (noisy.labels == faces.labels).mean() == pytest.approx(right.mean(), abs=4 * error)
    assert right.mean() == pytest.approx(0.83, abs=0.005)
