"""sRGB to linear light and back: averages of pixels or frames are right in linear light only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


def to_linear_light(image: NDArray[np.uint8]) -> Float32:
    """sRGB uint8 of any shape to linear light 0..1 (IEC 61966-2-1)."""
    return LINEAR_LIGHT[image]


def to_srgb(light: Float32) -> NDArray[np.uint8]:
    """Linear light of any shape, cut to 0..1, to sRGB uint8 (IEC 61966-2-1)."""
    coded = np.where(
        light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 1e-6) ** (1 / 2.4) - 0.055
    )
    return (np.clip(coded, 0, 1) * 255).round().astype(np.uint8)


def _make_table() -> Float32:
    levels = np.arange(256) / 255
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4).astype(
        np.float32
    )


LINEAR_LIGHT = _make_table()
"""Linear light (256,) of each sRGB level."""
