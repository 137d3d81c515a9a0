"""The panels of udc_real against figures that others published and captures that others made."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from numpy.random import default_rng
from numpy.typing import NDArray
from torch import Tensor

from models.udc.optics import blur
from models.udc.panel import FACE_PX, Panel, apply_panel, expose, to_srgb
from models.udc.suites import (
    ALL_DISPLAYS,
    REAL_FACE_PX,
    REAL_P_OLED,
    REAL_T_OLED,
    SEVERITIES,
    degrade,
    find_panel,
)
from trainer.data.images import read_image

Frame = NDArray[np.float32]

PUBLISHED_MTF = """
1 .761 .784 .797   2 .589 .627 .655   3 .463 .512 .547   4 .315 .377 .422
5 .238 .288 .335   6 .163 .203 .245   8 .130 .151 .166   10 .110 .124 .139
12 .106 .106 .112  15 .252 .128 .098  18 .305 .275 .155  21 .231 .296 .280
25 .143 .199 .263  29 .135 .138 .171  34 .284 .137 .113  39 .164 .272 .153
45 .146 .152 .231  52 .198 .145 .131  60 .117 .193 .129  70 .135 .129 .143
82 .172 .125 .127  96 .120 .157 .092  115 .114 .121 .083  140 .058 .072 .059
"""
"""The radially averaged MTF of a repeated T-OLED pixel pattern by wave optics: bin k, cycles in 294
sensor pixels, and R, G, B. From the results of the code of Yang and Sankaranarayanan, "Designing
Display Pixel Layouts for Under-Panel Cameras", ICCP 2021 (UPC_ICCP21_Code, TOLED_Repeat): focal
length 10 mm, aperture 4 mm, pitch 168 um, sensor pixel 2 um, 610, 530 and 470 nm."""
BINS = 294
SPACING_PX = 530e-9 * 10e-3 / (168e-6 * 2e-6)


def number(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def kernel(panel: Panel, size: int) -> NDArray[np.float64]:
    """What becomes of a point of light, (3, size, size), the point in the corner."""
    point = torch.zeros(1, 3, size, size, dtype=torch.float64)
    point[..., 0, 0] = 1
    optics = (panel.open_x, panel.open_y, panel.spacing_px, panel.lens_px)
    scatter = number(panel.scatter), number(panel.scatter_px)
    return blur(point, *map(number, optics), "circular", *scatter)[0].numpy()


def radial_mtf(panel: Panel) -> NDArray[np.float64]:
    """(3, rings): the mean of |FFT| over each ring of frequencies, as the source takes it."""
    cycles = np.fft.fftfreq(BINS) * BINS
    ring = np.rint(np.hypot(*np.meshgrid(cycles, cycles))).astype(int).ravel()
    spectra = np.abs(np.fft.fft2(kernel(panel, BINS)))
    return np.stack([np.bincount(ring, one.ravel()) / np.bincount(ring) for one in spectra])


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_the_t_oled_has_the_published_mtf(channel: int) -> None:
    table = np.array(PUBLISHED_MTF.split(), float).reshape(-1, 4)
    bins, wanted = table[:, 0].astype(int), table[:, 1 + channel]
    panel = dataclasses.replace(REAL_T_OLED, spacing_px=SPACING_PX)

    def distance(**change: float) -> float:
        mtf = radial_mtf(dataclasses.replace(panel, **change))[channel, bins]
        return float(np.sqrt(np.mean((mtf - wanted) ** 2)))

    assert len(bins) == 24
    assert distance() < 0.02
    for change in ({"open_y": 1.0}, {"open_x": 0.5}, {"lens_px": 0.3}, {"lens_px": 0.7}):
        assert distance(**change) > 0.02, "the fit would not notice another panel"


def test_the_p_oled_keeps_a_fifth_and_scatters_the_rest_evenly() -> None:
    """Its MTF by hand: 0.2 of the lens and 0.8 of a wide Gaussian, each times the pixel's and with
    the frequencies that a pixel folds back."""
    spectrum = np.fft.fft2(kernel(REAL_P_OLED, 512)[1]).real
    f = np.fft.fftfreq(512)
    folded = f + np.arange(-3, 4)[:, None]
    lens, wide = (
        (np.exp(-2 * (np.pi * sigma * folded) ** 2) * np.sinc(folded)).sum(axis=0)
        for sigma in (0.5, 130)
    )
    expected = 0.2 * np.outer(lens, lens) + 0.8 * np.outer(wide, wide)
    np.testing.assert_allclose(spectrum, expected, atol=2e-3)
    np.testing.assert_allclose(spectrum, spectrum.T, atol=1e-9)
    assert spectrum[0, 0] == pytest.approx(1, abs=1e-6)
    assert np.ptp(spectrum[0, 10:40]) < 0.01, "flat between 0.02 and 0.08 cycles a pixel"


@pytest.mark.parametrize("cell", ["udc_real_t", "udc_real_p"])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_no_light_is_lost(cell: str, severity: int) -> None:
    panel = dataclasses.replace(find_panel(f"{cell}/{severity}"), white_e=math.inf, blue=1.0)
    light = torch.from_numpy(default_rng(0).uniform(0, 1, (2, 3, 48, 40)))
    seen = expose(to_srgb(light), panel, ())
    np.testing.assert_allclose(seen.mean(dim=(2, 3)), light.mean(dim=(2, 3)), atol=2**-15)
    flat = expose(to_srgb(torch.full((1, 3, 48, 48), 0.375)), panel, ())
    np.testing.assert_allclose(flat, 0.375, atol=2**-15)


def test_scatter_changes_no_image_beside_it() -> None:
    plain, hazy = find_panel("udc_p/5"), find_panel("udc_real_p/3")
    images = default_rng(1).integers(0, 256, (3, 48, 48, 3), dtype=np.uint8)
    mixed = apply_panel(images, [plain, hazy, plain], [default_rng(i) for i in range(3)])
    for row, panel in enumerate((plain, hazy, plain)):
        assert np.array_equal(mixed[row], apply_panel(images[[row]], panel, default_rng(row))[0])


@pytest.mark.parametrize(("panel", "slope"), [(REAL_T_OLED, 0.0034), (REAL_P_OLED, 0.0108 / 0.51)])
def test_noise_is_that_of_the_captures(panel: Panel, slope: float) -> None:
    """Variance over signal of 8-bit values, in pixels of the frame; the P-OLED's capture was left
    at 0.51 of full brightness, and amplifying it amplifies its noise."""
    bare = dataclasses.replace(panel, open_x=1.0, open_y=1.0, scatter=0.0, blue=1.0)
    levels = np.array([0.05, 0.1, 0.2, 0.4, 0.8])
    reports = [
        255 * expose(to_srgb(torch.full((1, 1, 500, 500), u)).double(), bare, default_rng(3))
        for u in levels
    ]
    variance = [float(report.var()) for report in reports]
    fitted = np.polyfit(255 * levels, variance, 1, w=1 / np.array(variance))[0]
    assert fitted == pytest.approx(slope, rel=0.02)


def test_noise_is_20_to_30_db_below_the_hard_cells() -> None:
    """In pixels of the frame; a face of 240 pixels, averaged down to a tile, has 14 dB more."""

    def snr_db(panel: Panel) -> float:
        return 10 * math.log10(panel.white_e * panel.transmission)

    for real, hard in ((REAL_T_OLED, "udc_t"), (REAL_P_OLED, "udc_p")):
        assert 20 < snr_db(real) - snr_db(find_panel(f"{hard}/5")) < 30
        assert snr_db(real.at(FACE_PX / 240)) - snr_db(real) == pytest.approx(20 * math.log10(5))


def test_severity_is_the_width_of_a_face() -> None:
    """The T-OLED blurs as udc_t of the same severity: s / r in pixels of the tile."""
    assert REAL_FACE_PX == (600, 288, 150, 72, 56)
    for severity in SEVERITIES:
        old, t, p = (
            find_panel(f"{name}/{severity}") for name in ("udc_t", "udc_real_t", "udc_real_p")
        )
        assert t.spacing_px / t.open_x == pytest.approx(old.spacing_px / old.open_x, rel=0.02)
        assert p.scatter_px == pytest.approx(130 * 48 / REAL_FACE_PX[severity - 1])
    assert [ALL_DISPLAYS[f"{name}-oled-real"] for name in "tp"] == ["udc_real_t", "udc_real_p"]


@pytest.fixture(scope="module")
def captures(request: pytest.FixtureRequest) -> tuple[Frame, Frame]:
    """One scene through a T-OLED and through a P-OLED, (1024, 2048) of red, green, blue."""
    folder = request.getfixturevalue("data") / "media/udc"
    files = [folder / f"ex_{letter}oled.png" for letter in "tp"]
    t, p = (read_image(file).astype(np.float32) for file in files)
    return t, p


@pytest.mark.needs("data")
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_the_captured_p_oled_is_a_fifth_sharp_and_the_rest_wide(
    captures: tuple[Frame, Frame], channel: int
) -> None:
    """The P-OLED's capture as a sum of the T-OLED's, sharp, and of the same scattered: at a
    quarter of the sigma the sharp share would be below zero."""
    t, p = (cv2.resize(one[..., channel], (256, 128), None, 0, 0, 3) for one in captures)
    middle = slice(8, -8), slice(8, -8)

    def fit(sigma: float) -> tuple[float, float, float]:
        """Sharp share, brightness, and the share of the variance that is explained."""
        wide = cv2.GaussianBlur(t, (0, 0), sigma / 8, borderType=cv2.BORDER_REFLECT)
        parts = np.stack([t[middle].ravel(), wide[middle].ravel()], axis=1)
        seen = p[middle].ravel()
        weights = np.linalg.lstsq(parts, seen, rcond=None)[0]
        rest = (seen - parts @ weights).var() / seen.var()
        return float(weights[0] / weights.sum()), float(weights.sum()), float(1 - rest)

    sharp, brightness, explained = fit(REAL_P_OLED.scatter_px)
    assert 0.09 < sharp < 0.23
    assert brightness == pytest.approx((0.51, 0.51, 0.51 * REAL_P_OLED.blue)[channel], rel=0.05)
    assert explained > 0.88
    assert fit(REAL_P_OLED.scatter_px / 3)[0] < 0
    assert fit(REAL_P_OLED.scatter_px / 3)[2] < explained - 0.05


@pytest.mark.needs("data")
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_the_captured_p_oled_has_the_contrast_of_the_simulated(
    captures: tuple[Frame, Frame], channel: int
) -> None:
    """Beside the T-OLED's, in bands of 32 to 128 pixels; finer ones hold noise and its blur."""
    t, p = (cv2.resize(one[..., channel], (512, 256), None, 0, 0, 3) for one in captures)
    wide = cv2.GaussianBlur(t, (0, 0), REAL_P_OLED.scatter_px / 4, borderType=cv2.BORDER_REFLECT)
    simulated = (1 - REAL_P_OLED.scatter) * t + REAL_P_OLED.scatter * wide

    def contrast(image: NDArray[np.float32], px: float) -> float:
        near, far = (cv2.GaussianBlur(image, (0, 0), px / 4 * by) for by in (0.5**0.5, 2**0.5))
        return float((near - far)[16:-16, 16:-16].std() / image.mean())

    for px in (32, 64, 128):
        captured, made = (contrast(one, px) / contrast(t, px) for one in (p, simulated))
        assert made == pytest.approx(captured, abs=0.07)


@pytest.mark.needs("data")
def test_the_captured_t_oled_blurs_as_wide_and_to_the_sides_alone(
    captures: tuple[Frame, Frame],
) -> None:
    """Its horizontal over its vertical spectrum falls to a minimum where the closed form's first
    zero lies, r / s cycles a pixel; the P-OLED's does not fall at all."""
    cycles = np.fft.rfftfreq(512)
    window = np.hanning(512).astype(np.float32)

    def ratio(image: NDArray[np.float32]) -> NDArray[np.float64]:
        along = image[:, 512:1536].reshape(-1, 512)
        down = image[:, ::2].T.reshape(-1, 512)
        spectra = [
            (np.abs(np.fft.rfft((x - x.mean(1, keepdims=True)) * window)) ** 2).mean(axis=0)
            for x in (along, down)
        ]
        smooth = [np.convolve(one, np.full(5, 0.2), "same") for one in spectra]
        return np.sqrt(smooth[0] / smooth[1])

    t, p = (ratio(one[..., 1]) for one in captures)
    band = (cycles > 0.02) & (cycles < 0.09)
    lowest = cycles[band][t[band].argmin()]
    assert lowest == pytest.approx(REAL_T_OLED.open_x / REAL_T_OLED.spacing_px, rel=0.15)
    assert t[band].min() < 0.5
    assert p[band].min() > 0.85


@pytest.mark.needs("data")
def test_the_captured_noise_is_shot_noise_in_the_ratio_of_the_panels(
    captures: tuple[Frame, Frame],
) -> None:
    """Variance of diagonal differences in flat blocks of green, over their level: a line through
    the rounding to 8 bits, and for the P-OLED as much steeper as its electrons are fewer. (How
    steep hangs on the filter: a camera's own filter has made neighbours alike.)"""

    def blocks(image: NDArray[np.float32]) -> NDArray[np.float32]:
        return image[:1008, :2032].reshape(63, 16, 127, 16).swapaxes(1, 2).reshape(-1, 256)

    def slope(green: NDArray[np.float32]) -> float:
        steps = (green[:-1, :-1] - green[1:, :-1] - green[:-1, 1:] + green[1:, 1:]) / 2
        levels, variance = blocks(cv2.blur(green, (9, 9))), blocks(steps).var(axis=1)
        mean, spread = levels.mean(axis=1), levels.std(axis=1)
        flat = spread < np.median(spread)
        edges = np.quantile(mean[flat], np.linspace(0, 1, 9))
        groups = [flat & (mean >= low) & (mean <= high) for low, high in pairwise(edges)]
        points = [(mean[group].mean(), np.quantile(variance[group], 0.3)) for group in groups]
        x, y = np.array(points).T
        assert np.corrcoef(x, y)[0, 1] > 0.99
        found, at_black = np.polyfit(x, y, 1)
        assert 1 / 12 - 0.05 < at_black < 1 / 12 + 0.15
        return float(found)

    t, p = (slope(one[..., 1]) for one in captures)
    electrons = REAL_T_OLED.white_e * REAL_T_OLED.transmission
    electrons_p = REAL_P_OLED.white_e * REAL_P_OLED.transmission / 0.51
    assert p / t == pytest.approx(electrons / electrons_p, rel=0.1)
    assert 255 / electrons < t < 2.5 * 255 / electrons


def test_a_tile_is_the_same_whenever_it_is_made() -> None:
    tiles = default_rng(0).integers(0, 256, (4, 48, 48), dtype=np.uint8)
    for cell in ("udc_real_t/3", "udc_real_p/3"):
        seen = degrade(tiles, range(4), "made", cell)
        assert np.array_equal(seen[2:], degrade(tiles[2:], [2, 3], "made", cell))
        assert not np.array_equal(seen, degrade(tiles, range(4), "other", cell))
