"""One picture into a file, with the interface of a video writer."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from models.atomic_files import writing
from pipeline.errors import ConfigError
from pipeline.media.video import VideoWriter

STILLS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class StillWriter:
    """A context manager: the picture appears, whole, when the block ends well, and not otherwise.

    Raises ConfigError for a second picture; UndercamError at the end where nothing can be written.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._picture: NDArray[np.uint8] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self._picture is not None:
            bgr = cv2.cvtColor(self._picture, cv2.COLOR_RGB2BGR)
            _, encoded = cv2.imencode(self._path.suffix.lower(), bgr)
            with writing(self._path) as unfinished:
                unfinished.write_bytes(encoded.tobytes())

    def write(self, rgb: NDArray[np.uint8], pts_s: float | None = None) -> None:
        """Take the picture, (height, width, 3) uint8 RGB."""
        if self._picture is not None:
            raise _not_a_picture(self._path)
        self._picture = rgb


def open_writer(path: str | Path, width: int, height: int, fps: float) -> VideoWriter | StillWriter:
    """What writes to this path, by its ending; raises what VideoWriter raises."""
    return StillWriter(path) if is_still(path) else VideoWriter(path, width, height, fps)


def is_still(path: str | Path) -> bool:
    """Whether a file of this name holds one picture.

    >>> is_still("face.PNG"), is_still("face.mp4")
    (True, False)
    """
    return Path(path).suffix.lower() in STILLS


def check_still(path: Path | None, packets: int | None) -> None:
    """Raises ConfigError where a clip is to be written to a picture's file; `packets`: those of a
    short clip, as VideoSource tells them."""
    if path and is_still(path) and packets != 1:
        raise _not_a_picture(path)


def _not_a_picture(path: Path) -> ConfigError:
    return ConfigError("a clip, not a picture", str(path), "end its name in .mp4, .mov or .mkv")
