"""FER2013 as it is published: one CSV of pixels, and FER+'s CSV of votes beside it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.emotions import BASIC_SEVEN, FER2013_LABELS
from trainer.data.faceset import FaceSet
from trainer.data.ferplus import from_votes
from trainer.errors import DataError

USAGE = {"train": "Training", "test": "PublicTest"}
VOTE_COLUMNS = (
    "neutral", "happiness", "surprise", "sadness", "anger",
    "disgust", "fear", "contempt", "unknown", "NF",
)  # fmt: skip
TILE_PX = 48


def read_csv(pixels: Path, votes: Path | None, split: str, protocol: str) -> FaceSet:
    """One split of fer2013.csv: with FER+ votes 8 classes, alone FER2013's own 7.

    Raises DataError when a column is missing or the two files do not have the same rows.
    """
    faces = _rows(pixels, ("emotion", "pixels", "Usage"))
    chosen = [row for row, face in enumerate(faces) if face["Usage"] == USAGE[split]]
    try:
        tiles = np.array([_tile(faces[row]["pixels"]) for row in chosen])
    except ValueError as error:
        raise DataError("not 2304 pixels a face", str(pixels), str(error)) from error
    tiles = tiles.reshape(-1, TILE_PX, TILE_PX).astype(np.uint8)
    name = f"csv:{pixels.name}"
    if votes is None:
        own = [BASIC_SEVEN.index(FER2013_LABELS[int(faces[row]["emotion"])]) for row in chosen]
        labels = np.array(own, np.int64)
        return FaceSet.of_labels(name, BASIC_SEVEN, tiles, labels, np.array(chosen, np.int64))
    table = _rows(votes, VOTE_COLUMNS)
    if len(table) != len(faces):
        raise DataError(f"{len(table)} vote rows for {len(faces)} faces", str(votes), "give a pair")
    counts = np.array([[int(table[row][key]) for key in VOTE_COLUMNS] for row in chosen])
    rows = np.array(chosen, np.int64)
    return from_votes(
        name, tiles, counts.reshape(-1, 10), rows, np.zeros(len(rows), bool), protocol
    )


def _tile(text: str) -> NDArray[np.int64]:
    values = np.array(text.split(), np.int64)
    if len(values) != TILE_PX * TILE_PX or values.min() < 0 or values.max() > 255:
        raise ValueError(f"a face has {len(values)} values")
    return values


def _rows(path: Path, wanted: tuple[str, ...]) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in wanted if name not in (reader.fieldnames or [])]
        if missing:
            raise DataError(f"no column {missing[0]!r}", str(path), f"needs {', '.join(wanted)}")
        return list(reader)
