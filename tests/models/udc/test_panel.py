"""The sensor: its mean, its noise, its signal-to-noise ratio, and what it never changes."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.random import Generator, default_rng
from torch import Tensor

from models.udc.panel import Panel, apply_panel, expose, render_panel, to_linear, to_srgb

WHITES_E = {273: 24.0, 654: 28.0, 1608: 32.0, 4005: 36.0, 10024: 40.0}
"""Electrons of white, and the signal-to-noise ratio in dB that they give."""


def flat(level: float, size: int = 300) -> Tensor:
    """sRGB (1, 1, size, size) of one linear level."""
    return to_srgb(torch.full((1, 1, size, size), level, dtype=torch.float64))


def tiles(n: int = 6, channels: tuple[int, ...] = (), seed: int = 0) -> Any:
    return default_rng(seed).integers(0, 256, (n, 48, 48, *channels), dtype=np.uint8)


def test_srgb_and_linear_are_inverse() -> None:
    levels = torch.arange(256, dtype=torch.float64) / 255
    np.testing.assert_allclose(to_srgb(to_linear(levels)), levels, atol=1e-7)
    assert float(to_linear(torch.tensor(0.5))) == pytest.approx(0.214041, abs=1e-6)
    assert float(to_linear(torch.tensor(0.04))) == pytest.approx(0.04 / 12.92)


@pytest.mark.parametrize("channels", [(), (3,)])
def test_nothing_in_the_way_changes_nothing(channels: tuple[int, ...]) -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, *(1 for _ in channels))
    images = np.broadcast_to(images, (1, 16, 16, *channels))
    nothing = Panel(1, 1, 1, 3.2, math.inf, lens_px=0)
    assert np.array_equal(apply_panel(images, nothing, ()), images)
    # L large but finite: the read noise alone is left, a millionth of white.
    much = dataclasses.replace(nothing, white_e=1e12, well_e=math.inf)
    seen = apply_panel(images, much, default_rng(0)).astype(int)
    assert np.abs(seen - images).max() <= 1


@pytest.mark.parametrize("auto_exposure", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("level", [0.02, 0.5, 1.0])
def test_a_flat_field_keeps_its_level(level: float, auto_exposure: float) -> None:
    panel = Panel(0.48, 0.7, 0.05, 2.5, 4005, auto_exposure=auto_exposure)
    report = expose(flat(level), panel, default_rng(1))
    error = float(report.std()) / math.sqrt(report.numel())
    assert float(report.mean()) == pytest.approx(0.05 ** (1 - auto_exposure) * level, abs=3 * error)


def test_psf_times_transmission_sums_to_transmission() -> None:
    point = torch.zeros(1, 1, 63, 63)
    point[..., 31, 31] = 1
    panel = Panel(0.48, 0.48, 0.029, 3.2, math.inf, auto_exposure=0)
    assert float(expose(point, panel, ()).sum()) == pytest.approx(0.029, abs=1e-6)


@pytest.mark.parametrize(("tau", "auto_exposure"), [(0.2, 1.0), (0.5, 0.0), (0.3, 0.5)])
def test_noise_is_shot_and_read(tau: float, auto_exposure: float) -> None:
    """Variance over signal is a line: its slope the photons', its intercept the reading's."""
    white_e, read_e = 1608.0, 4.87
    panel = Panel(1, 1, tau, 0, white_e, lens_px=0, auto_exposure=auto_exposure)
    levels = np.array([0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0])
    reports = [expose(flat(u, 500), panel, default_rng(7)) for u in levels]
    variance = np.array([float(report.var()) for report in reports])
    # Each point weighs as exactly as it is known: a variance to a share of itself.
    slope, intercept = np.polyfit(levels, variance, 1, w=1 / variance)
    assert slope == pytest.approx(tau ** (1 - 2 * auto_exposure) / white_e, rel=0.02)
    expected = read_e**2 / (white_e**2 * tau ** (2 * auto_exposure))
    assert intercept == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("white_e", WHITES_E)
def test_signal_to_noise_of_white(white_e: int) -> None:
    report = expose(flat(1.0, 700), Panel(1, 1, 1, 0, white_e, well_e=math.inf), default_rng(2))
    ratio = 20 * math.log10(float(report.mean() / report.std()))
    assert ratio == pytest.approx(WHITES_E[white_e], abs=0.05)


def test_a_full_well_holds_no_more() -> None:
    panel = Panel(1, 1, 1, 0, 1000, lens_px=0, well_e=600)
    assert float(expose(flat(1.0), panel, default_rng(0)).max()) == 0.6


def test_nominal_panel_lifts_black_and_dims_white() -> None:
    nominal = Panel(0.48, 0.48, 0.029, 3.2, 4005)
    for level, mean in ((0, 0.0167), (255, 0.959)):
        images = np.full((40, 48, 48), level, np.uint8)
        seen = torch.from_numpy(apply_panel(images, nominal, default_rng(3))).double() / 255
        assert float(to_linear(seen).mean()) == pytest.approx(mean, abs=0.001)


def test_haze_is_white_light_over_everything() -> None:
    panel = Panel(1, 1, 1, 0, math.inf, lens_px=0, haze=0.3)
    assert float(expose(flat(0.2), panel, ()).mean()) == pytest.approx(0.3 + 0.7 * 0.2, abs=1e-5)


def test_blue_is_dimmed_and_grey_by_its_luminance() -> None:
    panel = Panel(1, 1, 1, 0, math.inf, lens_px=0, blue=0.56)
    light = torch.full((1, 3, 8, 8), 0.5, dtype=torch.float64)
    seen = expose(to_srgb(light), panel, ()).mean(dim=(2, 3))[0]
    np.testing.assert_allclose(seen, [0.5, 0.5, 0.28], atol=1e-5)
    grey = float(expose(flat(0.5, 8), panel, ()).mean())
    assert grey == pytest.approx(0.5 * (1 - 0.44 * 0.0722), abs=1e-5)


def generators(ids: Any) -> list[Generator]:
    return [default_rng(int(number)) for number in ids]


@pytest.mark.parametrize("channels", [(), (3,)])
def test_a_picture_is_the_same_in_any_batch_and_order(channels: tuple[int, ...]) -> None:
    panel, images = Panel(0.48, 0.48, 0.05, 2.5, 4005), tiles(7, channels)
    seen = apply_panel(images, panel, generators(range(7)))
    order = [5, 0, 3, 6, 1, 2, 4]
    mixed = apply_panel(images[order], [panel] * 7, generators(order))
    assert np.array_equal(mixed, seen[order])
    for row in range(7):
        alone = apply_panel(images[[row]], panel, generators([row]))
        assert np.array_equal(alone[0], seen[row])


def test_each_picture_has_its_own_panel_and_some_no_noise() -> None:
    panels = [
        Panel(0.48, 0.48, 0.05, 2.5, 4005),
        Panel(0.7, 1, 0.7, 1.0, math.inf),
        Panel(1, 1, 0.1, 0, 273, haze=0.2, auto_exposure=0.5),
        Panel(1, 1, 0.029, 0, 4005, scatter=0.8, scatter_px=8.4, blue=0.56),
    ]
    images = tiles(4)
    seen = apply_panel(images, panels, generators(range(4)))
    for row, panel in enumerate(panels):
        alone = apply_panel(images[[row]], panel, generators([row]))
        assert np.array_equal(alone[0], seen[row])


def test_one_generator_draws_for_a_whole_batch() -> None:
    panel, x = Panel(0.48, 0.48, 0.05, 2.5, 4005), torch.full((4, 1, 24, 24), 0.5)
    seen = render_panel(x, panel, default_rng(4))
    assert seen.dtype == torch.float32
    assert seen.shape == x.shape
    assert torch.equal(seen, render_panel(x, panel, default_rng(4)))
    assert not torch.equal(seen[0], seen[1])
    assert float(seen.min()) >= 0
    assert float(seen.max()) <= 1


def test_noises_of_two_pictures_have_nothing_in_common() -> None:
    x = flat(0.5, 256).expand(2, -1, -1, -1)
    report = expose(x, Panel(1, 1, 0.1, 0, 4005), generators([1, 2])).flatten(1).numpy()
    assert abs(np.corrcoef(report)[0, 1]) < 4 / math.sqrt(report.shape[1])


def test_a_panel_at_a_finer_scale_is_the_same_once_averaged_down() -> None:
    """Spread, electrons and noise of a face four times as large, its pixels taken together."""
    panel = Panel(0.48, 0.48, 0.05, 2.5, 4005)
    small = torch.zeros(1, 1, 48, 48)
    small[..., 20:28, 20:28] = 1
    large = small.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    still = dataclasses.replace(panel, white_e=math.inf)
    means = torch.nn.functional.avg_pool2d(expose(large, still.at(4), ()), 4)
    np.testing.assert_allclose(means, expose(small, still, ()), atol=0.03)
    report = expose(flat(0.5, 800), panel.at(4), default_rng(5))
    coarse = torch.nn.functional.avg_pool2d(report, 4)
    expected = expose(flat(0.5, 200), panel, default_rng(6))
    assert float(coarse.var()) == pytest.approx(float(expected.var()), rel=0.05)


@pytest.mark.parametrize(
    "change",
    [
        {"open_x": 0},
        {"open_y": 1.1},
        {"transmission": 0},
        {"transmission": math.nan},
        {"spacing_px": -1},
        {"white_e": 0},
        {"lens_px": math.inf},
        {"auto_exposure": 1.5},
        {"read_e": -1},
        {"well_e": 0},
        {"haze": 2},
        {"scatter": 1.1},
        {"scatter_px": -1},
        {"blue": -0.1},
    ],
    ids=str,
)
def test_numbers_out_of_range(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        dataclasses.replace(Panel(0.5, 0.5, 0.5, 1, 1000), **change)


def test_panels_and_generators_for_another_batch() -> None:
    panel = Panel(0.5, 0.5, 0.5, 1, 1000)
    with pytest.raises(ValueError, match="panels: expected 1 or 3, got 2"):
        apply_panel(tiles(3), [panel, panel], default_rng(0))
    with pytest.raises(ValueError, match="generators: expected 1 or 3, got 2"):
        apply_panel(tiles(3), panel, generators([1, 2]))


@pytest.mark.parametrize(
    "images",
    [tiles(2).astype(np.float32), tiles(2)[0], tiles(2, (4,)), tiles(2, (1,)), np.zeros(3, "u1")],
    ids=["floats", "one image", "RGBA", "a grey channel", "a row"],
)
def test_what_is_no_batch_of_pictures(images: Any) -> None:
    with pytest.raises(ValueError, match=r"images: expected \(n, h, w\) or \(n, h, w, 3\) uint8"):
        apply_panel(images, Panel(0.5, 0.5, 0.5, 1, 1000), default_rng(0))


@pytest.mark.parametrize("white_e", [1000.0, math.inf])
def test_values_that_are_no_light(white_e: float) -> None:
    x = torch.rand(2, 1, 48, 48)
    x[1, 0, 5, 5] = math.nan
    with pytest.raises(ValueError, match="some that are not finite"):
        render_panel(x, Panel(0.5, 0.5, 0.5, 1, white_e), default_rng(0))
    with pytest.raises(ValueError, match=r"expected \(n, 1 or 3, h, w\), got \(2, 48, 48\)"):
        render_panel(x[:, 0], Panel(0.5, 0.5, 0.5, 1, white_e), default_rng(0))


@pytest.mark.needs("gpu")
def test_every_device_sees_the_same_picture() -> None:
    panel = Panel(0.48, 0.48, 0.05, 2.5, 4005)
    x = torch.from_numpy(tiles(8)[:, None]).double() / 255
    there = render_panel(x.cuda(), panel, generators(range(8))).cpu()
    here = render_panel(x, panel, generators(range(8)))
    assert torch.equal((there * 255).round(), (here * 255).round())


def test_no_pictures() -> None:
    assert apply_panel(tiles(0), Panel(0.5, 0.5, 0.5, 1, 1000), []).shape == (0, 48, 48)
