"""The vote rules by hand, and on the real votes the counts that they must yield."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.emotions import EMOTIONS
from trainer.data.faceset import FaceSet
from trainer.data.ferplus import (
    from_votes,
    has_majority,
    remove_outliers,
    select_validation_cut,
    to_soft_targets,
)
from trainer.data.readers import open_faces
from trainer.errors import DataError

Votes = NDArray[np.int64]
UNKNOWN, NO_FACE = 8, 9


def ballot(**votes: int) -> Votes:
    """One face's ten votes, (1, 10)."""
    names = (*EMOTIONS, "unknown", "no_face")
    return np.array([[votes.get(name, 0) for name in names]])


def faces_of(votes: Votes, protocol: str) -> FaceSet:
    n = len(votes)
    tiles = np.zeros((n, 48, 48), np.uint8)
    return from_votes("made", tiles, votes, np.arange(n), np.zeros(n, bool), protocol)


@pytest.mark.parametrize(
    ("votes", "majority", "argmax"),
    [
        (ballot(happiness=10), "happiness", "happiness"),
        (ballot(fear=5, surprise=5), None, "surprise"),  # a tie is no majority
        (ballot(fear=5, surprise=4, sadness=1), "fear", "fear"),  # of 9: the single vote is struck
        (ballot(fear=5, surprise=3, sadness=2), None, "fear"),  # half is not more than half
        (ballot(anger=2, **dict.fromkeys(EMOTIONS[:4], 1)), "anger", "anger"),  # all others struck
        (ballot(**dict.fromkeys(EMOTIONS, 1)), None, "neutral"),  # nothing left
        (ballot(sadness=1, disgust=1), None, "sadness"),
        (ballot(unknown=6, anger=4), None, "anger"),  # unknown wins
        (ballot(no_face=8, anger=2), None, "anger"),
        (ballot(anger=4, unknown=3, no_face=1), "anger", "anger"),  # 4 of 7
        (ballot(anger=3, unknown=3), None, "anger"),
        (ballot(unknown=5, no_face=5), None, None),  # no vote for an emotion
        (ballot(), None, None),
        (ballot(contempt=1), None, "contempt"),
    ],
)
def test_the_rules(votes: Votes, majority: str | None, argmax: str | None) -> None:
    for protocol, wanted in (("ms_majority", majority), ("no_drop", argmax)):
        faces = faces_of(votes, protocol)
        assert [EMOTIONS[label] for label in faces.labels] == ([wanted] if wanted else [])
        assert faces.protocol == protocol


@pytest.mark.parametrize(
    ("votes", "shares"),
    [
        (ballot(neutral=6, sadness=4), {"neutral": 0.6, "sadness": 0.4}),
        (ballot(neutral=6, sadness=3, fear=1), {"neutral": 2 / 3, "sadness": 1 / 3}),
        (ballot(neutral=4, unknown=4), {"neutral": 1.0}),  # shared among emotions alone
        (ballot(neutral=1, fear=1, unknown=8), {"neutral": 0.5, "fear": 0.5}),  # nothing left: raw
    ],
)
def test_soft_targets_by_hand(votes: Votes, shares: dict[str, float]) -> None:
    wanted = [shares.get(name, 0.0) for name in EMOTIONS]
    assert to_soft_targets(votes)[0].tolist() == pytest.approx(wanted)


tables = st.lists(st.lists(st.integers(0, 10), min_size=10, max_size=10), min_size=1, max_size=20)


@given(tables.map(np.array))
def test_the_reference_rule_slowly(table: Votes) -> None:
    for row, kept in zip(table, has_majority(table), strict=True):
        counted = [int(vote) if vote > 1 else 0 for vote in row]
        best = counted.index(max(counted))
        assert kept == (max(counted) > sum(counted) / 2 and best < 8)
    assert np.array_equal(remove_outliers(table) == 0, table <= 1)


@given(tables.map(np.array), st.sampled_from(["ms_majority", "no_drop"]))
def test_targets_share_one_and_agree_with_the_label(table: Votes, protocol: str) -> None:
    faces = faces_of(table, protocol)
    np.testing.assert_allclose(faces.targets.sum(axis=1), 1, atol=1e-6)
    rows = np.arange(len(faces))
    assert (faces.targets[rows, faces.labels] == faces.targets.max(axis=1)).all()
    assert np.array_equal(faces.ids, np.flatnonzero(np.isin(np.arange(len(table)), faces.ids)))


def test_the_cut_keeps_equal_pixels_together(make_faces: Callable[..., FaceSet]) -> None:
    """Even where people disagreed about two copies of one picture."""
    faces = make_faces(400)
    order = np.random.default_rng(1).permutation(400)
    faces.tiles[order[:150]] = faces.tiles[order[150:300]]
    assert (faces.labels[order[:150]] != faces.labels[order[150:300]]).any()
    held = select_validation_cut(faces)
    hashes = np.array(faces.hashes())
    assert 20 < held.sum() < 80
    assert not set(hashes[held]) & set(hashes[~held])


def test_the_cut_is_the_tenth_with_the_smallest_hashes(make_faces: Callable[..., FaceSet]) -> None:
    faces = make_faces(300)
    held, hashes = select_validation_cut(faces), faces.hashes()
    for label in range(8):
        own = sorted(hashes[row] for row in np.flatnonzero(faces.labels == label))
        chosen = [hashes[row] for row in np.flatnonzero(held & (faces.labels == label))]
        assert sorted(chosen) == own[: len(own) // 10]


def test_the_cut_does_not_depend_on_the_order(make_faces: Callable[..., FaceSet]) -> None:
    faces = make_faces(300)
    order = np.random.default_rng(2).permutation(300)
    assert np.array_equal(select_validation_cut(faces[order]), select_validation_cut(faces)[order])
    assert not select_validation_cut(faces[:9]).any()


@pytest.fixture(scope="module")
def training(data: Path) -> FaceSet:
    return open_faces("ferplus:training")


def counts(faces: FaceSet) -> list[int]:
    return np.bincount(faces.labels, minlength=8).tolist()


def test_training_keeps_what_the_reference_keeps(training: FaceSet) -> None:
    assert len(training) == 25_060
    assert counts(training) == [8740, 7287, 3149, 3014, 2100, 119, 532, 119]
    assert training.tiles.shape == (25_060, 48, 48)
    assert not training.seen_in_training.any()
    assert len(set(training.ids.tolist())) == 25_060
    assert (training.name, training.protocol) == ("ferplus:training", "ms_majority")


def test_winner_share_and_entropy_floor(training: FaceSet) -> None:
    p = training.targets
    assert p.max(axis=1).mean() == pytest.approx(0.878, abs=5e-4)
    floor = -(p * np.log(np.maximum(p, 1e-12))).sum(axis=1).mean()
    assert floor == pytest.approx(0.242, abs=5e-4)


def test_the_real_validation_cut(training: FaceSet) -> None:
    held = select_validation_cut(training)
    hashes = np.array(training.hashes())
    assert held.sum() == 2_494
    assert (~held).sum() == 22_566
    assert counts(training[held]) == [872, 726, 316, 297, 212, 11, 49, 11]
    assert len(set(hashes[held])) == 2_395
    assert not set(hashes[held]) & set(hashes[~held])
    cut = open_faces("ferplus:cut")
    np.testing.assert_array_equal(cut.ids, training.ids[held])
    with pytest.raises(DataError, match="the cut has only faces with a majority: no_drop"):
        open_faces("ferplus:cut", "no_drop")


@pytest.mark.parametrize(
    ("protocol", "n", "seen", "per_class"),
    [
        ("ms_majority", 3_199, 251, [1182, 865, 415, 351, 287, 24, 62, 13]),
        ("no_drop", 3_579, 279, [1347, 899, 459, 418, 320, 36, 75, 25]),
    ],
)
def test_public_test(data: Path, protocol: str, n: int, seen: int, per_class: list[int]) -> None:
    public = open_faces("ferplus:public", protocol)
    assert len(public) == n
    assert public.seen_in_training.sum() == seen
    assert counts(public) == per_class


def test_what_is_seen_in_training_is_there_byte_for_byte(data: Path, training: FaceSet) -> None:
    """Of the kept faces: some twins in Training were dropped by the rule."""
    public = open_faces("ferplus:public")
    twins = np.isin(public.hashes(), training.hashes())
    assert not (twins & ~public.seen_in_training).any()
    assert twins.sum() > 0.8 * public.seen_in_training.sum()


def test_one_row_one_face(data: Path, training: FaceSet) -> None:
    """A sheet cut wrongly would mix the tiles: neighbours in a face differ less than tiles do."""
    tiles = training.tiles[:500].astype(float)
    inside = abs(np.diff(tiles, axis=1)).mean()
    across = abs(tiles[1:, 0] - tiles[:-1, -1]).mean()
    assert 3 * inside < across
    assert replace(training, tiles=training.tiles).tiles.max() == 255
