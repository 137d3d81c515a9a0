"""Image files, read and written as RGB."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

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
        _check_whole(header, str(path))
    return _check_decoded(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), str(path))


def decode_image(content: bytes, where: str) -> NDArray[np.uint8]:
    """The same of a file's content; `where` names it in errors."""
    with open_image(BytesIO(content), where) as header:
        _check_whole(header, where)
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    return _check_decoded(image, where)


def _check_whole(header: Image.Image, where: str) -> None:
    if not DEFAULT_LIMIT.allows(*header.size):
        raise DataError(DEFAULT_LIMIT.refusal(*header.size), where, "scale it down")
    # OpenCV fills the missing part of a truncated JPEG with grey, without an error.
    header.load()


def _check_decoded(image: Any, where: str) -> NDArray[np.uint8]:
    if image is None:
        raise DataError("unreadable image", where, REPLACE)
    return np.asarray(image, np.uint8)


@contextmanager
def open_image(file: Path | BytesIO, where: str = "") -> Iterator[Image.Image]:
    """An image of which only the header is read yet; raises DataError for a file that is not one,
    also where reading the rest of it fails."""
    where = where or str(file)
    try:
        with warnings.catch_warnings():
            # Pillow warns at limits of its own; ours are checked by the caller.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                yield image
    except Image.DecompressionBombError as error:
        raise DataError(DEFAULT_LIMIT.refusal(), where, "scale it down") from error
    except (UnidentifiedImageError, FileNotFoundError) as error:
        raise DataError("unreadable image", where, REPLACE) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"unreadable image ({error})", where, REPLACE) from error


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write (h, w) grey or (h, w, 3) RGB uint8, in the format of the file name's extension.

    The file is complete or absent. Raises UndercamError where nothing can be written.
    """
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    _, encoded = cv2.imencode(path.suffix.lower(), bgr)
    with writing(path) as unfinished:
        unfinished.write_bytes(encoded.tobytes())
