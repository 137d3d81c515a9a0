"""The levels of a picture: how far they reach, and spread over all that there are."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.detectors.base import Picture


def span(luma: NDArray[np.uint8], cut: float = 1.0) -> float:
    """Levels between the `cut` lowest and highest per cent of a luma (h, w)."""
    low, high = np.percentile(luma, (cut, 100 - cut))
    return float(high - low)


def stretched(picture: Picture, cut: float = 1.0) -> Picture:
    """Each channel of an (h, w, 3) uint8 RGB picture stretched over 0..255, the `cut` lowest and
    highest per cent cut off."""
    table = np.stack([_table(picture[..., channel], cut) for channel in range(3)], axis=1)
    return cv2.LUT(picture, table[None]).astype(np.uint8)


def _table(channel: NDArray[np.uint8], cut: float) -> NDArray[np.uint8]:
    """The levels (256,) that a channel's levels become; in a large one every fourth pixel tells."""
    sparse = channel[::4, ::4] if channel.size > 2**18 else channel
    low, high = np.percentile(sparse, (cut, 100 - cut))
    levels = (np.arange(256) - low) * (255 / max(high - low, 1))
    return np.clip(levels, 0, 255).round().astype(np.uint8)
