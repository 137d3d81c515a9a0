"""The simulated conditions, each with five severities, and the noise of each face.

    udc       udc_t and udc_p, a T-OLED and a P-OLED panel
    udc_real  udc_real_t and udc_real_p, the same two as measured on captures of real panels
    udc_c     both, the parts of udc_p alone, udc_dark udc_psf udc_noise, and udc_haze
    fer_nb    noise and blur in sRGB, without a panel: gauss_noise_x1 gauss_noise_x2 gauss_blur_x1
              gauss_blur_x2

A cell is a condition and its severity, "udc_p/3". The severity of udc_real is how wide a face is
in a frame of 2,048 pixels, REAL_FACE_PX: the panel is the same at all of them. All numbers hold
for a face 48 pixels high; at other sizes blur grows with the face, and noise so that it is alike
once averaged down to 48.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.random import Generator, Philox
from numpy.typing import NDArray
from torch import Tensor

from models.udc.optics import blur
from models.udc.panel import FACE_PX, Images, Panel, apply_panel, check_images

CLEAN, UDC, UDC_REAL = "clean", "udc", "udc_real"
SEVERITIES = (1, 2, 3, 4, 5)
CHUNK = 256

T_OLED = (
    Panel(0.70, 1.0, 0.70, 1.0, 10024),
    Panel(0.50, 1.0, 0.50, 1.5, 4005),
    Panel(0.35, 1.0, 0.35, 2.0, 4005),
    Panel(0.21, 1.0, 0.20, 2.5, 1608),
    Panel(0.21, 1.0, 0.20, 3.2, 654),
)
P_OLED = (
    Panel(0.80, 0.80, 0.40, 1.0, 10024),
    Panel(0.70, 0.70, 0.20, 1.5, 10024),
    Panel(0.60, 0.60, 0.10, 2.0, 4005),
    Panel(0.48, 0.48, 0.05, 2.5, 4005),
    Panel(0.48, 0.48, 0.029, 3.2, 4005),
)
REAL_T_OLED = Panel(
    *(0.25, 0.83, 0.20, 4.5, 255 / 0.0034 / 0.20),
    well_e=math.inf,
)
"""In pixels of a frame 2,048 wide, fitted to captures of one scene (see decision 25). White has
255 / 0.0034 electrons after the display: 0.0034 is the noise's variance over 8-bit signal."""
REAL_P_OLED = Panel(
    *(1.0, 1.0, 0.029, 0.0, 0.51 * 255 / 0.0108 / 0.029),
    well_e=math.inf,
    scatter=0.8,
    scatter_px=130.0,
    blue=0.56,
)
"""A fifth of the light stays sharp. 0.51: so bright is its capture beside the T-OLED's, and it is
brought back to full brightness as in every cell but udc_dark."""
REAL_FACE_PX = (600, 288, 150, 72, 56)
"""The width of a face by severity: the T-OLED then blurs as udc_t does, s / r 1.4 to 15 pixels."""
BARE = Panel(1.0, 1.0, 1.0, 0.0, math.inf, lens_px=0.0)
"""No display, no lens, no noise."""
UDC_C: dict[str, tuple[Panel, ...]] = {
    "udc_t": T_OLED,
    "udc_p": P_OLED,
    "udc_dark": tuple(
        dataclasses.replace(p, open_x=1.0, open_y=1.0, lens_px=0.0, auto_exposure=0.0)
        for p in P_OLED
    ),
    "udc_psf": tuple(dataclasses.replace(p, transmission=1.0, white_e=math.inf) for p in P_OLED),
    "udc_noise": tuple(dataclasses.replace(p, open_x=1.0, open_y=1.0, lens_px=0.0) for p in P_OLED),
    "udc_haze": tuple(dataclasses.replace(BARE, haze=h) for h in (0.1, 0.2, 0.3, 0.4, 0.5)),
}
REAL: dict[str, tuple[Panel, ...]] = {
    "udc_real_t": tuple(REAL_T_OLED.at(FACE_PX / px) for px in REAL_FACE_PX),
    "udc_real_p": tuple(REAL_P_OLED.at(FACE_PX / px) for px in REAL_FACE_PX),
}
PANELS = {**UDC_C, **REAL}
NOISE_SIGMA = (0.04, 0.06, 0.08, 0.09, 0.10)
BLUR_SIGMA_PX = (0.4, 0.6, 0.7, 0.8, 1.0)
NOISES = {f"gauss_noise_x{by}": tuple(by * sigma for sigma in NOISE_SIGMA) for by in (1, 2)}
"""Sigma of the noise, of values 0..1."""
BLURS = {f"gauss_blur_x{by}": tuple(by * sigma for sigma in BLUR_SIGMA_PX) for by in (1, 2)}
"""Sigma of the blur, pixels of a face 48 pixels high."""
SUITES: dict[str, tuple[str, ...]] = {
    UDC: ("udc_t", "udc_p"),
    UDC_REAL: tuple(REAL),
    "udc_c": tuple(UDC_C),
    "fer_nb": (*NOISES, *BLURS),
}
CORRUPTIONS = (*UDC_C, *NOISES, *BLURS, *REAL)
CELLS = {
    f"{corruption}/{severity}": (corruption, severity - 1)
    for corruption in CORRUPTIONS
    for severity in SEVERITIES
}
"""Each cell's condition, and where its numbers stand in that condition's five."""
DISPLAYS = {"t-oled": "udc_t", "p-oled": "udc_p"}
"""The condition of each panel that a data set gets by default, by the name that users give."""
ALL_DISPLAYS = DISPLAYS | {"t-oled-real": "udc_real_t", "p-oled-real": "udc_real_p"}


def conditions(spec: str) -> tuple[str, ...]:
    """The cells that a list of names means, each once, `clean` first.

    Names, comma between: `clean`, a suite, a condition, or one cell of it. Raises ValueError that
    quotes an unknown one.

    >>> conditions("udc_p/3,clean,udc_t")
    ('clean', 'udc_p/3', 'udc_t/1', 'udc_t/2', 'udc_t/3', 'udc_t/4', 'udc_t/5')
    """
    chosen = [cell for name in spec.split(",") for cell in _expand(name.strip())]
    return tuple(sorted(dict.fromkeys(chosen), key=lambda cell: cell != CLEAN))


def _expand(name: str) -> list[str]:
    if name == CLEAN:
        return [CLEAN]
    wanted = SUITES.get(name, (name,))
    cells = [cell for cell, (corruption, _) in CELLS.items() if {cell, corruption} & set(wanted)]
    if not cells:
        raise ValueError(f"no such condition {name!r}")
    return cells


def complete(cells: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The conditions and suites that are whole among some cells, each with its cells."""
    there = set(cells)
    whole = {name: conditions(name) for name in (*CORRUPTIONS, *SUITES)}
    return {name: parts for name, parts in whole.items() if set(parts) <= there}


def find_panel(cell: str) -> Panel:
    """The panel of a cell "udc_p/3"; raises ValueError for one without, such as `clean`."""
    corruption, level = CELLS.get(cell, (CLEAN, 0))
    if corruption not in PANELS:
        raise ValueError(f"no panel in {cell!r}")
    return PANELS[corruption][level]


def noise_generator(dataset: str, face: int | np.integer | str, cell: str) -> Generator:
    """The noise of one image in one cell: the same on every machine, in any batch and order."""
    key = hashlib.sha256(f"{dataset}|{face}|{cell}".encode()).digest()
    return Generator(Philox(key=int.from_bytes(key[:16], "little")))


def degrade(
    tiles: Images, ids: Sequence[int | str] | NDArray[np.int64], dataset: str, cell: str
) -> Images:
    """Aligned tiles (n, h, w) grey or (n, h, w, 3) RGB uint8 under a condition, the same shape.

    `ids` (n,) and the data set's name choose each tile's noise. Raises ValueError for other tiles,
    for ids that do not fit, and for an unknown cell.
    """
    check_images(tiles)
    if cell == CLEAN:
        return tiles
    if len(ids) != len(tiles):
        raise ValueError(f"ids: expected {len(tiles)}, got {len(ids)}")
    if cell not in CELLS:
        raise ValueError(f"no such condition {cell!r}")
    seen = np.empty_like(tiles)
    for start in range(0, len(tiles), CHUNK):
        part = slice(start, start + CHUNK)
        noises = [noise_generator(dataset, face, cell) for face in ids[part]]
        seen[part] = _apply_condition(tiles[part], *CELLS[cell], noises)
    return seen


def _apply_condition(
    tiles: Images, corruption: str, level: int, noises: Sequence[Generator]
) -> Images:
    scale = tiles.shape[1] / FACE_PX
    if corruption in PANELS:
        return apply_panel(tiles, PANELS[corruption][level].at(scale), noises)
    if corruption in BLURS:
        return _blur_srgb(tiles, BLURS[corruption][level] * scale)
    sigma = NOISES[corruption][level] * scale
    drawn = np.stack([noise.standard_normal(tiles.shape[1:]) for noise in noises])
    return np.clip(np.rint(tiles + 255 * sigma * drawn), 0, 255).astype(np.uint8)


def _blur_srgb(tiles: Images, sigma_px: float) -> Images:
    """A Gaussian over sRGB values, each channel for itself."""
    x = torch.from_numpy(np.moveaxis(tiles.reshape(*tiles.shape[:3], -1), 3, 1).copy())
    n, channels, height, width = x.shape
    one = torch.ones(1, dtype=torch.float64)
    flat: Tensor = x.reshape(n * channels, 1, height, width).double() / 255
    seen = blur(flat, one, one, 0 * one, sigma_px * one).reshape(x.shape)
    levels = (seen * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return levels.contiguous().numpy().reshape(tiles.shape)
