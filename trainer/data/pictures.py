"""Pictures from and to files, as RGB."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.writing import writing
from trainer.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


def read_picture(path: Path) -> NDArray[np.uint8]:
    """A picture file as (h, w, 3) uint8 RGB; raises DataError for one that cannot be read."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise DataError("unreadable picture", str(path), "remove or replace it")
    return np.asarray(picture, np.uint8)


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write (h, w) grey or (h, w, 3) RGB uint8, in the format of the name's ending.

    A reader sees all of it or nothing. Raises UndercamError where nothing can be written.
    """
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    _, encoded = cv2.imencode(path.suffix.lower(), bgr)
    with writing(path) as unfinished:
        unfinished.write_bytes(encoded.tobytes())
