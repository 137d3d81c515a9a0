"""Pictures from and to files, as RGB."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from models.atomic_files import writing
from models.frame_size import DEFAULT_LIMIT
from trainer.errors import DataError

REPLACE = "remove or replace it"
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


def read_picture(path: Path) -> NDArray[np.uint8]:
    """A picture file as (h, w, 3) uint8 RGB, upright.

    Raises DataError for one that cannot be read or is not whole, and, before it is decoded, for one
    that is larger than any frame may be.
    """
    with opened(path) as header:
        if not DEFAULT_LIMIT.allows(*header.size):
            raise DataError(DEFAULT_LIMIT.refusal(*header.size), str(path), "scale it down")
        # OpenCV fills what is missing of a JPEG with grey, and says nothing.
        header.load()
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise DataError("unreadable picture", str(path), REPLACE)
    return np.asarray(picture, np.uint8)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """A picture of which only the header was read; raises DataError for what is none, and for
    whatever goes wrong with it."""
    try:
        with warnings.catch_warnings():
            # Pillow has limits of its own.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                yield picture
    except Image.DecompressionBombError as error:
        raise DataError(DEFAULT_LIMIT.refusal(), str(path), "scale it down") from error
    except (UnidentifiedImageError, FileNotFoundError) as error:
        raise DataError("unreadable picture", str(path), REPLACE) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"unreadable picture ({error})", str(path), REPLACE) from error


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write (h, w) grey or (h, w, 3) RGB uint8, in the format of the name's ending.

    A reader sees all of it or nothing. Raises UndercamError where nothing can be written.
    """
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    _, encoded = cv2.imencode(path.suffix.lower(), bgr)
    with writing(path) as unfinished:
        unfinished.write_bytes(encoded.tobytes())
