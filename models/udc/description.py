"""A display as numbers that a network can read."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.udc.panel import Panel

FEATURES = 7
"""How many numbers describe a display."""
NOISE_SCALE, MOST_SPACING_PX = 5.0, 5.0


def describe_panels(panels: Sequence[Panel | None]) -> NDArray[np.float32]:
    """Displays, None where there is none, -> (n, FEATURES), each in about 0..1 and 0 without one:

    whether there is a display; the light that it takes; what its grating closes of each axis; its
    blur, the spacing of two orders, of 5 pixels of a face 48 pixels high; the shot noise of white,
    1 / sqrt(L tau), of a fifth of full scale; the share of light that it scatters.
    """
    described = np.zeros((len(panels), FEATURES), np.float32)
    for row, panel in enumerate(panels):
        if panel is None:
            continue
        electrons = panel.white_e * panel.transmission
        noise = 0.0 if math.isinf(electrons) else 1 / math.sqrt(electrons)
        described[row] = (
            1.0,
            1 - panel.transmission,
            1 - panel.open_x,
            1 - panel.open_y,
            panel.spacing_px / MOST_SPACING_PX,
            NOISE_SCALE * noise,
            panel.scatter,
        )
    return described
