"""A display in front of the camera, simulated: between the source and detection."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.udc.panel import FACE_PX, apply_panel
from models.udc.suites import DISPLAYS, SEVERITIES, find_panel, noise_generator
from pipeline.errors import ConfigError
from pipeline.frames import Frame

FRAME_FACE_PX = 192
"""Height of the faces, in a frame, at which a panel harms them as it harms a tile."""


class Display:
    """Pictures as the camera under a display sees them.

    `cell` is a panel of `models.udc.suites`, `face_px` the height of a face in the pictures, and
    `noise` names their noise: with the same key the same picture looks the same again. Raises
    ValueError for a cell without a panel.
    """

    def __init__(self, cell: str, face_px: float, noise: str) -> None:
        self.name = f"{cell} at {face_px:g} px"
        self._cell, self._noise = cell, noise
        self._panel = find_panel(cell).at(face_px / FACE_PX)

    def __call__(self, picture: NDArray[np.uint8], key: int | str) -> NDArray[np.uint8]:
        """One picture (h, w) or (h, w, 3) uint8; `key` chooses its noise."""
        return apply_panel(
            picture[None], self._panel, noise_generator(self._noise, key, self._cell)
        )[0]

    def frame(self, frame: Frame) -> Frame:
        """A frame of a clip, its noise by its index."""
        return replace(frame, image=self(frame.image, frame.header.index))


def open_display(panel: str, severity: int, face_px: float = FRAME_FACE_PX) -> Display:
    """The display that a person names, before a clip; raises ConfigError for one that there is
    not."""
    if not 0 < face_px < math.inf:
        raise ConfigError("no such height of a face", f"{face_px:g}", "give pixels, such as 192")
    return Display(cell_of(panel, severity), face_px, "frame")


def cell_of(panel: str, severity: int) -> str:
    """The cell of `t-oled` or `p-oled` at a severity 1..5; raises ConfigError for any other.

    >>> cell_of("p-oled", 3)
    'udc_p/3'
    """
    if panel not in DISPLAYS:
        raise ConfigError("no such panel", panel or "(nothing)", f"give {' or '.join(DISPLAYS)}")
    if severity not in SEVERITIES:
        raise ConfigError("no such severity", str(severity), "give 1..5")
    return f"{DISPLAYS[panel]}/{severity}"
