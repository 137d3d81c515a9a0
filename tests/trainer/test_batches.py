"""What a network is shown in training: the clean way, and the way through a display."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from models.crops import GEOMETRY
from models.emotions import EMOTIONS
from models.weights import ModelCard
from trainer.batches import AugmentedBatches
from trainer.data.faceset import FaceSet
from trainer.inputs import build_inputs, sample_panel
from trainer.recipes import Augment, RandomPanel, Recipe

MakeFaces = Callable[..., FaceSet]
MakeRecipe = Callable[..., Recipe]
NEVER = RandomPanel(share=0.0)
OLD_PANELS = (
    (0.897659, 0.897659, 0.128334, 1.297255, 367.960652),
    (0.815675, 0.815675, 0.131869, 2.953797, 5955.985371),
)
"""Open shares, transmission, spacing and electrons of white."""


def card(px: int = 48, channels: int = 1) -> ModelCard:
    return ModelCard(
        *("made", "resnet18", {}, EMOTIONS, px, channels, (0.5,) * channels, (0.25,) * channels),
        *(GEOMETRY, "made", "none"),
    )


def smooth_faces(n: int = 12, seed: int = 3) -> FaceSet:
    """Pictures without the extremes of black and white, where cubic enlarging overshoots."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (n, 12, 12)).astype(np.float32)
    tiles = np.kron(coarse, np.ones((4, 4), np.float32)).astype(np.uint8)
    return FaceSet.of_labels("made", EMOTIONS, tiles, rng.integers(0, 8, n))


def augmented(faces: FaceSet, how: Augment, px: int = 48, **recipe: Any) -> AugmentedBatches:
    return AugmentedBatches(faces, card(px), Recipe("resnet18", {}, (), augment=how, **recipe))


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_all_faces_through_the_one_door(tiny_card: ModelCard, make_faces: MakeFaces) -> None:
    faces = make_faces(600)  # more than one chunk
    inputs = build_inputs(faces, tiny_card)
    assert inputs.shape == (600, 1, 24, 24)
    part = slice(510, 515)
    assert torch.equal(inputs[part], build_inputs(faces[part], tiny_card))


@pytest.mark.parametrize("px", [48, 24, 112])
def test_a_display_that_nobody_has_leaves_the_door_as_it_is(still: Augment, px: int) -> None:
    faces = smooth_faces()
    rows = torch.arange(len(faces))
    seen = augmented(faces, still, px, panel=NEVER)(rows, px, draws()).x
    plain = augmented(faces, still, px)(rows, px, draws()).x
    assert (seen - plain).abs().max() < 1.5 / 255 / 0.25  # two roundings to 8 bits


def test_the_same_draws_show_the_same_faces(make_faces: MakeFaces) -> None:
    shown = augmented(make_faces(20), Augment(), panel=RandomPanel())
    rows = torch.arange(8)
    first, again, other = (shown(rows, 48, draws(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.x, again.x)
    assert not torch.equal(first.x, other.x)


def test_so_many_faces_are_behind_a_display_as_the_recipe_says(still: Augment) -> None:
    faces = smooth_faces(400)
    rows = torch.arange(len(faces))
    clean = augmented(faces, still, panel=NEVER)(rows, 48, draws(5))
    some = augmented(faces, still, panel=RandomPanel(share=0.3))(rows, 48, draws(5))
    changed = (clean.x != some.x).flatten(1).any(dim=1).float().mean()
    assert changed == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 400) ** 0.5)


def test_targets_rows_and_size_go_along(make_faces: MakeFaces, still: Augment) -> None:
    faces = make_faces(10)
    rows = torch.tensor([7, 2, 2])
    batch = augmented(faces, still)(rows, 32, draws())
    assert batch.x.shape == (3, 1, 32, 32)
    assert torch.equal(batch.targets, torch.from_numpy(faces.targets)[rows])
    assert torch.equal(batch.rows, rows)


def test_colour_tiles_for_a_grey_network_and_the_other_way(still: Augment) -> None:
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (4, 48, 48, 3), dtype=np.uint8)
    faces = FaceSet.of_labels("made", EMOTIONS, tiles, np.zeros(4, np.int64))
    rows = torch.arange(4)
    recipe = Recipe("resnet18", {}, (), augment=still, panel=NEVER)
    assert AugmentedBatches(faces, card(), recipe)(rows, 48, draws()).x.shape == (4, 1, 48, 48)
    grey = replace(faces, tiles=tiles[..., 0])
    shown = AugmentedBatches(grey, card(channels=3), recipe)(rows, 48, draws()).x
    assert shown.shape == (4, 3, 48, 48)
    assert torch.equal(shown[:, 0], shown[:, 2])


def test_displays_are_drawn_within_their_ranges() -> None:
    how = RandomPanel()
    rng = np.random.default_rng(1)
    drawn = [sample_panel(how, rng) for _ in range(2000)]
    for name, (low, high) in {
        "open_x": how.open, "spacing_px": how.spacing_px,
        "transmission": how.transmission, "white_e": how.white_e,
    }.items():  # fmt: skip
        values = np.array([getattr(panel, name) for panel in drawn])
        assert low <= values.min() < values.max() <= high
    middle = np.median([panel.transmission for panel in drawn])
    assert middle == pytest.approx((0.029 * 1.0) ** 0.5, rel=0.15)  # even in the logarithm
    bars = np.mean([panel.open_y == 1.0 for panel in drawn])
    assert bars == pytest.approx(0.5, abs=4 * 0.5 / 2000**0.5)


def test_recipes_without_real_panels_draw_what_they_always_drew() -> None:
    """The first and the last of 1,000 panels of a seed, from before there were real ones."""
    rng = np.random.Generator(np.random.Philox(key=7))
    drawn = [sample_panel(RandomPanel(), rng) for _ in range(1000)]
    for panel, wanted in zip(drawn[::999], OLD_PANELS, strict=True):
        assert dataclasses.astuple(panel)[:5] == pytest.approx(wanted, rel=1e-5)
        assert (panel.scatter, panel.blue) == (0, 1)


def test_a_fifth_of_the_displays_has_the_kernel_of_a_real_p_oled() -> None:
    how, rng = RandomPanel(real=0.2), np.random.default_rng(2)
    drawn = [sample_panel(how, rng) for _ in range(2000)]
    real = [panel for panel in drawn if panel.scatter]
    assert len(real) / 2000 == pytest.approx(0.2, abs=4 * 0.4 / 2000**0.5)
    assert {(panel.scatter, panel.blue, panel.open_x) for panel in real} == {(0.8, 0.56, 1.0)}
    faces_px = np.array([130 * 48 / panel.scatter_px for panel in real])
    assert 50 <= faces_px.min() < faces_px.max() <= 600
    assert np.median(faces_px) == pytest.approx((50 * 600) ** 0.5, rel=0.15)
    for name, (low, high) in {"transmission": how.transmission, "white_e": how.white_e}.items():
        values = np.array([getattr(panel, name) for panel in real])
        assert low <= values.min() < values.max() <= high
