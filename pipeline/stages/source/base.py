"""What a source of frames is, whatever it reads from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from pipeline.frames import ConnectionState, Frame


class Source(Protocol):
    """Where the frames of one camera run come from."""

    camera: str
    run: str

    @property
    def shed(self) -> Mapping[str, int]:
        """Frames given up so far, by cause."""
        ...

    @property
    def ending(self) -> str:
        """Why there are no more frames, when there are none."""
        ...

    def __iter__(self) -> Iterator[Frame | ConnectionState]:
        """Frames in order; in between, where no frame comes for a while, how the link stands."""
        ...
