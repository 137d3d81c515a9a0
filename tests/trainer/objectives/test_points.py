"""Landmarks go where the picture goes, and faces without any teach nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.lrdif.landmarks import LandmarkNet
from trainer.augment import sample_warps, warp_images
from trainer.data.faceset import FaceSet
from trainer.errors import DataError
from trainer.objectives.base import Batch
from trainer.objectives.points import PointLabels, points_path, warp_points
from trainer.recipes import Augment

MakeFaces = Callable[..., FaceSet]
SIDE = 96
POINTS = torch.tensor([[0.35, 0.4], [0.62, 0.38], [0.5, 0.55], [0.4, 0.7], [0.6, 0.72]])


def dot_at(point: Tensor) -> Tensor:
    """(1, 1, 96, 96): a soft dot around a place in 0..1, x first."""
    at = (torch.arange(SIDE) + 0.5) / SIDE
    distance = (at[None, :] - point[0]) ** 2 + (at[:, None] - point[1]) ** 2
    return (-distance / (2 * 0.02**2)).exp()[None, None]


def centre_of(picture: Tensor) -> Tensor:
    """Where the dot of a (96, 96) picture is, (2,) in 0..1."""
    at = (torch.arange(SIDE) + 0.5) / SIDE
    weights = picture / picture.sum()
    return torch.stack([(weights.sum(dim=0) * at).sum(), (weights.sum(dim=1) * at).sum()])


def test_points_move_as_the_picture_does() -> None:
    """Dots painted at the points, turned, shifted, scaled and mirrored, are found where they are
    said to be."""
    how = Augment(rotation=25, shift=0.06, scale=0.2)
    warps = sample_warps(12, how, torch.Generator().manual_seed(1))
    mirrored = torch.linalg.det(warps[:, :, :2]) < 0
    assert 0 < int(mirrored.sum()) < 12
    told = warp_points(POINTS.expand(12, 5, 2), warps)
    for number, point in enumerate(POINTS):
        shown = warp_images(dot_at(point).expand(12, 1, SIDE, SIDE), warps)
        for face in range(12):
            as_named = [1, 0, 2, 4, 3][number] if mirrored[face] else number
            found = centre_of(shown[face, 0])
            torch.testing.assert_close(found, told[face, as_named], atol=0.004, rtol=0)


def test_a_mirror_changes_sides() -> None:
    """The eye that is on the right of a face in a mirror is its right eye."""
    mirror = torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]])
    (seen,) = warp_points(POINTS[None], mirror)
    torch.testing.assert_close(seen[0], torch.tensor([1 - 0.62, 0.38]))
    torch.testing.assert_close(seen[3], torch.tensor([1 - 0.6, 0.72]))
    still = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])
    torch.testing.assert_close(warp_points(POINTS[None], still)[0], POINTS)


def labels(found: list[bool]) -> PointLabels:
    points = np.random.default_rng(0).uniform(0.2, 0.8, (len(found), 5, 2)).astype(np.float32)
    return PointLabels(points, np.array(found))


def test_the_loss_by_hand(batch: Batch) -> None:
    torch.manual_seed(0)
    network = LandmarkNet(1, 16)
    found = [True, False] * 8
    known = labels(found)
    rows = torch.arange(15, -1, -1)
    loss = known.loss(network.eval(), replace(batch, rows=rows))
    said, wanted = network.points(batch.x), known.points.flip(0)
    each = [(said[i] - wanted[i]).abs().mean() for i in range(16) if found[15 - i]]
    assert len(each) == 8
    torch.testing.assert_close(loss, 10 * torch.stack(each).mean())


def test_faces_without_landmarks_teach_nothing(batch: Batch) -> None:
    torch.manual_seed(0)
    network = LandmarkNet(1, 16)
    loss = labels([False] * 16).loss(network, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0
    assert all(v.grad is not None and not v.grad.any() for v in network.parameters())


def test_landmarks_are_learnt(batch: Batch) -> None:
    torch.manual_seed(0)
    network, known = LandmarkNet(1, 16), labels([True] * 16)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = known.loss(network, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 1  # a tenth of the face
    assert losses[-1] < 0.3


def test_each_set_of_faces_has_its_own_file(make_faces: MakeFaces, tmp_path: Path) -> None:
    paths = {points_path(make_faces(5, seed=seed), tmp_path) for seed in (0, 0, 1)}
    assert len(paths) == 2
    assert all(path.parent == tmp_path for path in paths)


def test_points_are_read_back(
    make_faces: MakeFaces, keep_made_points: Callable[[FaceSet, Path], None], tmp_path: Path
) -> None:
    faces = make_faces(10)
    keep_made_points(faces, tmp_path)
    known = PointLabels.of(faces, tmp_path)
    assert known.points.shape == (10, 5, 2)
    assert known.found.tolist() == [i % 5 > 0 for i in range(10)]


def test_no_landmarks_of_these_faces(make_faces: MakeFaces, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no landmarks of these faces: .*points-[0-9a-f]{12}\.npz"):
        PointLabels.of(make_faces(5), tmp_path)
