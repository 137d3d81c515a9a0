"""Tiles in a file, for sets that are larger than memory: read where they are used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


class TileFile:
    """Some rows of a memory-mapped array of tiles (n, h, w, 3) uint8, which a FaceSet has for its
    tiles: an index reads those faces alone, `select` reads none."""

    def __init__(self, every: NDArray[np.uint8], rows: NDArray[np.int64] | None = None) -> None:
        self._every = every
        self._rows = np.arange(len(every)) if rows is None else rows

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, h, w, 3)."""
        return (len(self._rows), *self._every.shape[1:])

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """uint8."""
        return self._every.dtype

    @property
    def ndim(self) -> int:
        """4."""
        return self._every.ndim

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        return np.asarray(self._every[self._rows[index]])

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return (np.asarray(self._every[row]) for row in self._rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self._every[self._rows], dtype)

    def select(self, rows: Any) -> TileFile:
        """Those of these rows."""
        return TileFile(self._every, self._rows[rows])


def is_on_disk(tiles: Any) -> bool:
    """Whether tiles are in a file, and not read yet."""
    return isinstance(tiles, TileFile)


def select_tiles(tiles: Any, rows: Any) -> Any:
    """The tiles of these rows, not read yet where they are in a file."""
    return tiles.select(rows) if isinstance(tiles, TileFile) else tiles[rows]
