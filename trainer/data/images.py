"""Image files, read and written as RGB."""

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


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image file as (h, w, 3) uint8 RGB, upright.

    Raises DataError for one that cannot be read or is truncated, and, before it is decoded, for one
    that is larger than any frame may be.
    """
    with open_image(path) as header:
        if not DEFAULT_LIMIT.allows(*header.size):
            raise DataError(DEFAULT_LIMIT.refusal(*header.size), str(path), "scale it down")
        # OpenCV fills the missing part of a truncated JPEG with grey, without an error.
        header.load()
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise DataError("unreadable image", str(path), REPLACE)
    return np.asarray(image, np.uint8)


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """An image of which only the header is read yet; raises DataError for a file that is not one,
    also where reading the rest of it fails."""
    try:
        with warnings.catch_warnings():
            # Pillow warns at limits of its own; ours are checked by the caller.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                yield image
    except Image.DecompressionBombError as error:
        raise DataError(DEFAULT_LIMIT.refusal(), str(path), "scale it down") from error
    except (UnidentifiedImageError, FileNotFoundError) as error:
        raise DataError("unreadable image", str(path), REPLACE) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"unreadable image ({error})", str(path), REPLACE) from error


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write (h, w) grey or (h, w, 3) RGB uint8, in the format of the file name's extension.

    The file is complete or absent. Raises UndercamError where nothing can be written.
    """
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    _, encoded = cv2.imencode(path.suffix.lower(), bgr)
    with writing(path) as unfinished:
        unfinished.write_bytes(encoded.tobytes())
