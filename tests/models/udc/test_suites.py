"""The tables of conditions, their names, and that each severity is worse than the one before."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.udc.panel import apply_panel
from models.udc.suites import (
    BARE,
    CELLS,
    CORRUPTIONS,
    DISPLAYS,
    PANELS,
    SEVERITIES,
    complete,
    conditions,
    degrade,
    find_panel,
    noise_generator,
)


@pytest.fixture(scope="session")
def faces(data: Path) -> NDArray[np.uint8]:
    """256 tiles (256, 48, 48) of PublicTest."""
    sheet = cv2.imread(str(data / "data/ferplus/public_test.webp"), cv2.IMREAD_GRAYSCALE)
    assert sheet is not None
    return np.asarray(sheet[:48].reshape(48, -1, 48).swapaxes(0, 1)[:256], np.uint8)


@pytest.fixture(scope="session")
def ramps() -> NDArray[np.uint8]:
    """(9, 48, 48) soft noise, faces or not."""
    rng = np.random.default_rng(0)
    return np.stack(
        [cv2.GaussianBlur(rng.uniform(0, 255, (48, 48)), (0, 0), 2) for _ in range(9)]
    ).astype(np.uint8)


def test_names() -> None:
    assert conditions("clean") == ("clean",)
    assert conditions("udc_t/4") == ("udc_t/4",)
    assert conditions("udc_p") == tuple(f"udc_p/{s}" for s in SEVERITIES)
    assert conditions("udc_p/3, clean ,udc_p/3") == ("clean", "udc_p/3")
    udc_c = conditions("udc_c")
    assert len(udc_c) == len(set(udc_c)) == 30
    assert set(conditions("udc")) == set(conditions("udc_t,udc_p")) < set(udc_c)
    assert conditions("udc_t,udc_c")[:5] == conditions("udc_t")
    assert len(conditions("fer_nb")) == 20
    assert "gauss_noise_x2/5" in conditions("fer_nb")
    assert conditions("clean,udc_t,udc_p,udc_c,fer_nb,udc_real") == ("clean", *CELLS)
    assert conditions("udc_real") == (*conditions("udc_real_t"), *conditions("udc_real_p"))
    assert len(CELLS) == 60


def test_what_is_whole() -> None:
    assert complete(conditions("clean,udc_t/1,udc_p")) == {"udc_p": conditions("udc_p")}
    assert list(complete(conditions("udc,clean"))) == ["udc_t", "udc_p", "udc"]
    assert len(complete(CELLS)) == len(CORRUPTIONS) + 4


@pytest.mark.parametrize("name", ["fog", "", "udc_t/6", "udc_t/", "udc_c/1", "clean/1", "/3"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(ValueError, match="no such condition"):
        conditions(f"clean,{name}")


SEVERITY_TABLE = """
0.70 0.70 1.0 10024   0.80 0.40  1.0 10024
0.50 0.50 1.5 4005    0.70 0.20  1.5 10024
0.35 0.35 2.0 4005    0.60 0.10  2.0 4005
0.21 0.20 2.5 1608    0.48 0.05  2.5 4005
0.21 0.20 3.2 654     0.48 0.029 3.2 4005
"""
"""Open share, transmission, spacing, electrons of white: of a T-OLED, then of a P-OLED; a line a
severity."""


def test_every_severity_is_the_one_agreed_on() -> None:
    for level, line in enumerate(SEVERITY_TABLE.split("\n")[1:-1]):
        numbers = [float(number) for number in line.split()]
        for name, wanted in (("udc_t", numbers[:4]), ("udc_p", numbers[4:])):
            p = PANELS[name][level]
            assert [p.open_x, p.transmission, p.spacing_px, p.white_e] == wanted
            assert p.open_y == (p.open_x if name == "udc_p" else 1)
            assert (p.lens_px, p.read_e, p.well_e, p.auto_exposure) == (0.5, 4.87, 15506, 1)


@pytest.mark.parametrize(
    ("cell", "signal_to_noise"), [("udc_t/4", 24.8), ("udc_t/5", 20.4), ("udc_p/5", 19.8)]
)
def test_nominal_panels(cell: str, signal_to_noise: float) -> None:
    panel = find_panel(cell)
    electrons = panel.white_e * panel.transmission
    noise = math.sqrt(electrons + panel.read_e**2)
    assert 20 * math.log10(electrons / noise) == pytest.approx(signal_to_noise, abs=0.05)


def test_panels_of_names() -> None:
    assert find_panel(f"{DISPLAYS['p-oled']}/5").transmission == 0.029
    assert find_panel(f"{DISPLAYS['t-oled']}/4").open_y == 1
    for cell in ("clean", "gauss_blur_x1/1", "udc_p/6"):
        with pytest.raises(ValueError, match="no panel in"):
            find_panel(cell)


def test_parts_of_a_panel() -> None:
    for whole, dark, psf, noise in zip(
        *(PANELS[name] for name in ("udc_p", "udc_dark", "udc_psf", "udc_noise")), strict=True
    ):
        assert (dark.auto_exposure, dark.transmission) == (0, whole.transmission)
        assert (dark.open_x, dark.open_y, dark.lens_px) == (1, 1, 0)
        assert (psf.spacing_px, psf.open_x, psf.white_e) == (
            *(whole.spacing_px, whole.open_x),
            math.inf,
        )
        electrons = whole.white_e * whole.transmission
        assert noise.white_e * noise.transmission == electrons
        assert (noise.open_x, noise.lens_px, noise.auto_exposure) == (1, 0, 1)


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_each_severity_is_worse(faces: NDArray[np.uint8], corruption: str) -> None:
    errors = [
        ((degrade(faces, range(256), "public", f"{corruption}/{s}") - faces.astype(float)) ** 2)
        for s in SEVERITIES
    ]
    ratios = [10 * math.log10(255**2 / error.mean()) for error in errors]
    assert all(np.diff(ratios) < 0), ratios


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_a_tile_hangs_on_its_id_and_cell_alone(
    ramps: NDArray[np.uint8], corruption: str, channels: tuple[int, ...]
) -> None:
    if channels:
        ramps = np.stack([ramps, 255 - ramps, ramps // 2], axis=-1)
    ids = np.arange(100, 109)
    seen = degrade(ramps, ids, "made", f"{corruption}/3")
    assert seen.shape == ramps.shape
    assert seen.dtype == np.uint8
    order = np.array([4, 8, 0])
    assert np.array_equal(degrade(ramps[order], ids[order], "made", f"{corruption}/3"), seen[order])
    assert not np.array_equal(degrade(ramps, ids, "made", f"{corruption}/4"), seen)
    has_noise = not np.array_equal(degrade(ramps, ids + 1, "made", f"{corruption}/3"), seen)
    quiet = corruption.startswith(("gauss_blur", "udc_psf", "udc_haze"))
    assert has_noise != quiet
    if has_noise:
        assert not np.array_equal(degrade(ramps, ids, "other", f"{corruption}/3"), seen)


def test_more_tiles_than_fit_in_one_go(
    ramps: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = degrade(ramps, range(9), "made", "udc_p/2")
    monkeypatch.setattr("models.udc.suites.CHUNK", 4)
    assert np.array_equal(degrade(ramps, range(9), "made", "udc_p/2"), whole)


def test_clean_is_clean(ramps: NDArray[np.uint8]) -> None:
    assert np.array_equal(degrade(ramps, range(9), "made", "clean"), ramps)
    assert np.array_equal(apply_panel(ramps, BARE, ()), ramps)
    assert degrade(ramps[:0], [], "made", "udc_p/1").shape == (0, 48, 48)


def test_noise_of_two_faces_and_of_two_cells_has_nothing_in_common() -> None:
    draws = [
        noise_generator(*key).standard_normal(65_536)
        for key in (
            ("a", 1, "udc_p/3"),
            ("a", 2, "udc_p/3"),
            ("a", 1, "udc_p/4"),
            ("b", 1, "udc_p/3"),
        )
    ]
    shared = np.corrcoef(draws) - np.eye(4)
    assert np.abs(shared).max() < 4 / math.sqrt(65_536)


def test_noise_is_the_same_on_every_machine() -> None:
    drawn = noise_generator("ferplus:public", 17, "udc_p/3").integers(1 << 32, size=2)
    assert drawn.tolist() == [3087781779, 3630911983]


def test_a_larger_tile_is_harmed_alike(ramps: NDArray[np.uint8]) -> None:
    """A tile enlarged twice, harmed, and averaged down is as far from clean as the tile harmed."""
    large = np.stack([cv2.resize(tile, (96, 96), interpolation=cv2.INTER_LINEAR) for tile in ramps])
    for cell in ("udc_p/3", "gauss_noise_x1/2"):
        small = degrade(ramps, range(9), "made", cell).astype(float) - ramps
        seen = degrade(large, range(9), "made", cell)
        down = np.stack([cv2.resize(t, (48, 48), interpolation=cv2.INTER_AREA) for t in seen])
        assert (down.astype(float) - ramps).std() == pytest.approx(small.std(), rel=0.15)


@pytest.mark.parametrize("cell", ["clean", *(f"{name}/1" for name in CORRUPTIONS)])
def test_tiles_that_are_no_pictures(ramps: NDArray[np.uint8], cell: str) -> None:
    broken = np.full(ramps.shape, np.nan, np.float32)
    with pytest.raises(ValueError, match="images: expected"):
        degrade(broken, range(9), "made", cell)  # type: ignore[arg-type]


def test_unknown_cells_and_ids_that_do_not_fit(ramps: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="no such condition 'udc_p'"):
        degrade(ramps, range(9), "made", "udc_p")
    with pytest.raises(ValueError, match="ids: expected 9, got 8"):
        degrade(ramps, range(8), "made", "udc_p/1")
