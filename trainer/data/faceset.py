"""Labelled face tiles: what every reader returns and every training takes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.crops import GEOMETRY
from trainer.data.tile_file import select_tiles

CHUNK = 4096
"""Faces that are read at once from a file of tiles."""


@dataclass(frozen=True)
class FaceSet:
    """Aligned faces, each with a class and with a distribution over the classes to train on.

    tiles (n, h, w) grey or (n, h, w, 3) RGB uint8, an array or a `TileFile`; targets (n, K)
    float32, rows sum to 1; labels (n,) int64, the class; ids (n,) int64, stable across versions;
    seen_in_training (n,) bool, where the same pixels are also in the training split;
    votes (n, K), how many raters chose each class, None where only labels are known; crop, the
    geometry of the tiles (`models.crops`); truth (n,) int64, the class without the noise that
    `trainer.data.label_noise` put into labels and targets, None where it put none. Raises
    ValueError, with both shapes, where they do not match.
    """

    name: str
    protocol: str
    classes: tuple[str, ...]
    tiles: NDArray[np.uint8]
    targets: NDArray[np.float32]
    labels: NDArray[np.int64]
    ids: NDArray[np.int64]
    seen_in_training: NDArray[np.bool_]
    votes: NDArray[np.integer] | None = None
    crop: str = GEOMETRY
    truth: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        n = len(self.tiles)
        if self.tiles.dtype != np.uint8 or (self.tiles.ndim != 3 and self.tiles.shape[3:] != (3,)):
            raise ValueError(
                f"tiles: expected (n, h, w) or (n, h, w, 3) uint8, "
                f"got {self.tiles.shape} {self.tiles.dtype}"
            )
        for name, shape in (
            ("targets", (n, len(self.classes))),
            ("labels", (n,)),
            ("ids", (n,)),
            ("seen_in_training", (n,)),
        ):
            found = getattr(self, name).shape
            if found != shape:
                raise ValueError(f"{name}: expected {shape}, got {found}")
        if self.votes is not None and self.votes.shape != (n, len(self.classes)):
            raise ValueError(f"votes: expected {(n, len(self.classes))}, got {self.votes.shape}")
        if self.truth is not None and self.truth.shape != (n,):
            raise ValueError(f"truth: expected {(n,)}, got {self.truth.shape}")

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> FaceSet:
        return FaceSet(
            self.name,
            self.protocol,
            self.classes,
            select_tiles(self.tiles, rows),
            self.targets[rows],
            self.labels[rows],
            self.ids[rows],
            self.seen_in_training[rows],
            None if self.votes is None else self.votes[rows],
            self.crop,
            None if self.truth is None else self.truth[rows],
        )

    @property
    def true_labels(self) -> NDArray[np.int64]:
        """The classes without label noise: to measure with and to cut by, never to train on."""
        return self.labels if self.truth is None else self.truth

    def concatenate(self, other: FaceSet) -> FaceSet:
        """These faces and then the other's, under this name; raises ValueError on other classes or
        another geometry."""
        if other.crop != self.crop:
            raise ValueError(f"crop: expected {self.crop}, got {other.crop}")
        if other.classes != self.classes:
            raise ValueError(f"classes: expected {self.classes}, got {other.classes}")
        arrays = ("tiles", "targets", "labels", "ids", "seen_in_training")
        both: dict[str, Any] = {
            name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in arrays
        }
        votes = None
        if self.votes is not None and other.votes is not None:
            votes = np.concatenate([self.votes, other.votes])
        truth = None
        if self.truth is not None or other.truth is not None:
            truth = np.concatenate([self.true_labels, other.true_labels])
        return replace(self, **both, votes=votes, truth=truth)

    @classmethod
    def of_labels(
        cls,
        name: str,
        classes: tuple[str, ...],
        tiles: NDArray[np.uint8],
        labels: NDArray[np.int64],
        ids: NDArray[np.int64] | None = None,
    ) -> FaceSet:
        """A set whose targets are its labels, one-hot, under the protocol `labels`."""
        return cls(
            name,
            "labels",
            classes,
            tiles,
            np.eye(len(classes), dtype=np.float32)[labels],
            labels,
            np.arange(len(tiles)) if ids is None else ids,
            np.zeros(len(tiles), bool),
        )

    def fingerprint(self) -> str:
        """sha256 of everything that a network is trained on: tiles, targets and their classes."""
        digest = hashlib.sha256(" ".join(self.classes).encode())
        for array in (self.tiles, self.targets):
            digest.update(f"{array.shape}".encode())
            for start in range(0, len(array), CHUNK):
                digest.update(np.ascontiguousarray(array[start : start + CHUNK]).tobytes())
        return digest.hexdigest()

    def hashes(self) -> list[str]:
        """sha256 of each tile's bytes, hex: equal pixels, equal hash."""
        return [
            hashlib.sha256(np.ascontiguousarray(tile).tobytes()).hexdigest() for tile in self.tiles
        ]
