"""Faces change as the recipe says, by the generator alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.augment import augment
from trainer.recipes import Augment


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(n: int = 4, channels: int = 1, px: int = 48) -> Tensor:
    return torch.randn(n, channels, px, px, generator=draws(9))


@pytest.mark.parametrize(("channels", "px"), [(1, 48), (3, 32), (1, 112)])
def test_shape_stays_and_faces_change(channels: int, px: int) -> None:
    x = noise(4, channels, px)
    out = augment(x, Augment(), draws())
    assert out.shape == x.shape
    assert out.dtype == torch.float32
    assert (out != x).float().mean() > 0.9


def test_one_generator_one_outcome() -> None:
    torch.manual_seed(1)
    first = augment(noise(), Augment(), draws(5))
    torch.manual_seed(2)
    assert torch.equal(first, augment(noise(), Augment(), draws(5)))
    assert not torch.equal(first, augment(noise(), Augment(), draws(6)))


def test_without_ranges_only_the_mirror_is_left(still: Augment) -> None:
    x = noise(64)
    out = augment(x, still, draws())
    same = torch.isclose(out, x, atol=1e-4).flatten(1).all(dim=1)
    mirrored = torch.isclose(out, x.flip(3), atol=1e-4).flatten(1).all(dim=1)
    assert (same ^ mirrored).all()
    assert 16 < same.sum() < 48


def test_half_of_the_faces_are_mirrored(still: Augment) -> None:
    ramp = torch.linspace(-1, 1, 8).expand(10_000, 1, 8, 8)
    flipped = augment(ramp, still, draws())[:, 0, 0, 0] > 0
    assert flipped.float().mean() == pytest.approx(0.5, abs=0.02)  # four standard errors


@pytest.mark.parametrize("sides", [(6, 19), (8, 8), (1, 48)])
def test_erasing_blanks_exactly_a_square(still: Augment, sides: tuple[int, int]) -> None:
    x = torch.ones(300, 1, 48, 48)
    out = augment(x, replace(still, erase_p=1.0, erase_px=sides), draws())
    found = set()
    for face in out[:, 0]:
        rows, columns = torch.nonzero(face == 0, as_tuple=True)
        height, width = np.ptp(rows.numpy()) + 1, np.ptp(columns.numpy()) + 1
        assert height == width
        assert len(rows) == height * width
        found.add(int(height))
    assert found <= set(range(sides[0], sides[1] + 1))
    assert {sides[0], sides[1]} <= found or sides == (1, 48)


def test_erasing_reaches_every_pixel_and_as_often_as_asked(still: Augment) -> None:
    x = torch.ones(4000, 1, 16, 16)
    blank = augment(x, replace(still, erase_p=0.3, erase_px=(4, 8)), draws()) == 0
    assert blank.flatten(1).any(dim=1).float().mean() == pytest.approx(0.3, abs=0.03)
    assert blank.any(dim=0).all()


@pytest.mark.parametrize(
    ("name", "size"), [("contrast", 0.2), ("brightness", 0.3)], ids=["contrast", "brightness"]
)
def test_light_stays_in_its_range(still: Augment, name: str, size: float) -> None:
    level = 2.0 if name == "contrast" else 0.0
    out = augment(torch.full((2000, 1, 4, 4), level), replace(still, **{name: size}), draws())
    change = out[:, 0, 0, 0] - level
    reach = size * max(level, 1)
    assert torch.allclose(out, out[:, :, :1, :1])  # the whole face alike
    assert change.abs().max() <= reach * 1.001
    assert change.min() < -0.95 * reach
    assert change.max() > 0.95 * reach


def spot(out: Tensor) -> tuple[Tensor, Tensor]:
    """Where the brightness of each face lies: its mean row and column."""
    weights = out[:, 0].clamp(min=0)
    at = torch.arange(out.shape[-1], dtype=torch.float32)
    total = weights.sum(dim=(1, 2))
    return (weights.sum(2) * at).sum(1) / total, (weights.sum(1) * at).sum(1) / total


def test_shift_scale_and_rotation_stay_in_their_ranges(still: Augment) -> None:
    """A spot 10 px above the middle of 48."""
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    face = torch.exp(-((rows - 13.5) ** 2 + (columns - 23.5) ** 2) / 8)
    x = face.expand(800, 1, 48, 48)
    row, column = spot(augment(x, replace(still, shift=0.1), draws()))
    for moved in (row - 13.5, column - 23.5):
        assert moved.abs().max() <= 4.8 + 0.05
        assert moved.abs().max() > 4.6
    row, column = spot(augment(x, replace(still, scale=0.2), draws()))
    assert (column - 23.5).abs().max() < 0.05
    assert 10 / 1.2 - 0.1 <= (23.5 - row).min() < 8.6
    assert 12.2 < (23.5 - row).max() <= 10 / 0.8 + 0.1
    row, column = spot(augment(x, replace(still, rotation=30), draws()))
    angle = torch.rad2deg(torch.atan2(column - 23.5, 23.5 - row))
    assert 28 < angle.max() <= 30.5
    assert -30.5 <= angle.min() < -28
    assert torch.allclose(torch.hypot(column - 23.5, row - 23.5), torch.tensor(10.0), atol=0.1)
