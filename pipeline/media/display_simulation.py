"""Simulates a display in front of the camera, between the source and the detector."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from models.udc.panel import FACE_PX, apply_panel
from models.udc.suites import ALL_DISPLAYS, SEVERITIES, find_panel, noise_generator
from pipeline.errors import ConfigError
from pipeline.frames import Frame

FRAME_FACE_PX = 192
"""Height of a face in a frame, pixels, at which a panel degrades it as much as an aligned tile."""


class DisplaySimulation:
    """Turns images into those of an under-display camera.

    `cell` is a panel of `models.udc.suites`, `face_px` the height of a face in the images, and
    `noise` seeds the sensor noise: the same image with the same key gives the same result. Raises
    ValueError for a cell without a panel.
    """

    def __init__(self, cell: str, face_px: float, noise: str) -> None:
        self.name = f"{cell} at {face_px:g} px"
        self._cell, self._noise = cell, noise
        self._panel = find_panel(cell).at(face_px / FACE_PX)

    def __call__(self, image: NDArray[np.uint8], key: int | str) -> NDArray[np.uint8]:
        """Degrade one image, (h, w) or (h, w, 3) uint8; `key` seeds its noise."""
        return apply_panel(image[None], self._panel, noise_generator(self._noise, key, self._cell))[
            0
        ]

    def apply(self, frame: Frame) -> Frame:
        """Degrade a frame of a clip; its index seeds the noise."""
        return frame.with_image(self(frame.image, frame.header.index))


def open_simulation(panel: str, severity: int, face_px: float = FRAME_FACE_PX) -> DisplaySimulation:
    """The simulation by the names that people give; raises ConfigError for an unknown panel or
    severity."""
    if not 0 < face_px < math.inf:
        raise ConfigError("not a face height", f"{face_px:g}", "give pixels, such as 192")
    return DisplaySimulation(cell_of(panel, severity), face_px, "frame")


def cell_of(panel: str, severity: int) -> str:
    """The cell of a panel at a severity 1..5; raises ConfigError for any other.

    >>> cell_of("p-oled", 3)
    'udc_p/3'
    """
    if panel not in ALL_DISPLAYS:
        known = " or ".join(ALL_DISPLAYS)
        raise ConfigError("no such panel", panel or "(nothing)", f"give {known}")
    if severity not in SEVERITIES:
        raise ConfigError("no such severity", str(severity), "give 1..5")
    return f"{ALL_DISPLAYS[panel]}/{severity}"
