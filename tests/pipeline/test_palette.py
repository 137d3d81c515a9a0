from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.emotions import EMOTIONS, UNKNOWN
from pipeline.palette import EMOTION_COLOURS, rgb

Float64 = NDArray[np.float64]
# Machado, Oliveira and Fernandes 2009: linear RGB as it is seen with full colour blindness
SIGHTS = {
    "normal": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear(colour: tuple[int, int, int]) -> Float64:
    share = np.array(colour) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def lab(light: Float64) -> Float64:
    """CIELAB of linear sRGB, white point D65."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.array(to_xyz) @ light / [0.9505, 1.0, 1.089]
    fx, fy, fz = (np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return np.array([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])


def contrast(a: tuple[int, int, int], b: tuple[int, int, int]) -> float:
    """The ratio of WCAG, 1 alike .. 21 black and white."""
    dark, bright = sorted(float(np.dot([0.2126, 0.7152, 0.0722], linear(c))) for c in (a, b))
    return (bright + 0.05) / (dark + 0.05)


def test_every_label_has_its_colour() -> None:
    assert list(EMOTION_COLOURS) == [*EMOTIONS, UNKNOWN]
    assert rgb("unknown") == (0x7A, 0x80, 0x86)


@pytest.mark.parametrize("sight", SIGHTS)
def test_no_two_look_alike(sight: str) -> None:
    seen = {
        name: lab(np.clip(np.array(SIGHTS[sight]) @ linear(rgb(name)), 0, 1))
        for name in EMOTION_COLOURS
    }
    apart = {(a, b): float(np.linalg.norm(seen[a] - seen[b])) for a, b in combinations(seen, 2)}
    assert min(apart.values()) > 16, min(apart, key=lambda pair: apart[pair])


@pytest.mark.parametrize("name", EMOTION_COLOURS)
def test_stands_out_from_paper_and_from_ink(name: str) -> None:
    assert contrast(rgb(name), (255, 255, 255)) > 1.5
    assert contrast(rgb(name), (16, 20, 25)) > 2.5


def test_oracle() -> None:
    assert lab(linear((255, 255, 255))) == pytest.approx([100, 0, 0], abs=0.05)
    assert lab(linear((255, 0, 0))) == pytest.approx([53.2, 80.1, 67.2], abs=0.2)
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
