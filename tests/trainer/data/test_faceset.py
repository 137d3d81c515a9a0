"""A set of faces is checked when it is built, and cut by rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.emotions import EMOTIONS
from trainer.data.faceset import FaceSet


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tiles": np.zeros((3, 48, 48), np.float32)}, r"tiles: .* got \(3, 48, 48\) float32"),
        ({"tiles": np.zeros((3, 48, 48, 1), np.uint8)}, "tiles: expected"),
        ({"tiles": np.zeros((3, 48), np.uint8)}, "tiles: expected"),
        ({"targets": np.zeros((3, 7), np.float32)}, r"targets: expected \(3, 8\), got \(3, 7\)"),
        ({"labels": np.zeros(2, np.int64)}, r"labels: expected \(3,\), got \(2,\)"),
        ({"ids": np.zeros((3, 1), np.int64)}, "ids: expected"),
        ({"seen_in_training": np.zeros(4, bool)}, "seen_in_training: expected"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_shape_is_named(
    make_faces: Callable[..., FaceSet], change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        replace(make_faces(3), **change)


def test_rows_are_chosen_together(make_faces: Callable[..., FaceSet]) -> None:
    faces = make_faces(20)
    part = faces[faces.labels == 3]
    assert (part.labels == 3).all()
    assert np.array_equal(part.tiles, faces.tiles[part.ids])
    assert np.array_equal(part.targets, np.eye(8, dtype=np.float32)[part.labels])
    assert len(faces[:0]) == 0
    assert (part.name, part.classes) == ("made", EMOTIONS)


def test_equal_pixels_equal_hash(make_faces: Callable[..., FaceSet]) -> None:
    faces = make_faces(5)
    faces.tiles[3] = faces.tiles[1]
    hashes = faces.hashes()
    assert hashes[3] == hashes[1]
    assert len(set(hashes)) == 4
    assert all(len(value) == 64 for value in hashes)
    assert hashes == replace(faces, tiles=np.asfortranarray(faces.tiles)).hashes()


def test_the_fingerprint_sees_every_change(make_faces: Callable[..., FaceSet]) -> None:
    faces = make_faces(6)
    own = faces.fingerprint()
    assert own == make_faces(6).fingerprint()
    pixel, target = faces.tiles.copy(), faces.targets.copy()
    pixel[5, 47, 47] ^= 1
    target[0] = target[0][::-1]
    others = [
        replace(faces, tiles=pixel),
        replace(faces, targets=target),
        replace(faces, classes=EMOTIONS[::-1]),
        replace(faces, tiles=faces.tiles.reshape(6, 24, 96)),
        faces[:5],
        faces[::-1],
    ]
    assert len({own, *(other.fingerprint() for other in others)}) == 7


def test_rows_keep_the_geometry_of_the_tiles_and_two_geometries_do_not_mix(
    make_faces: Callable[..., FaceSet],
) -> None:
    aligned = replace(make_faces(4), crop="aligned-5-1.0")
    assert aligned[1:].crop == aligned.concatenate(aligned).crop == "aligned-5-1.0"
    with pytest.raises(ValueError, match=r"crop: expected square-1.0, got aligned-5-1.0"):
        make_faces(4).concatenate(aligned)
