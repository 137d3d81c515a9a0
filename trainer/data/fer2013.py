"""FER2013 as it is published: a CSV of pixels, and FER+'s CSV of votes."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    """One split of fer2013.csv: 8 classes with FER+ votes, FER2013's own 7 without.

    Raises DataError for a missing column, a row that cannot be read, a split without faces, or two
    files that do not have the same rows.
    """
    faces = _read_rows(pixels, ("emotion", "pixels", "Usage"))
    chosen = [row for row, face in enumerate(faces) if face["Usage"] == USAGE[split]]
    if not chosen:
        raise DataError(f"no {USAGE[split]} faces", str(pixels), "give the whole of fer2013.csv")
    tiles = np.stack([_parse(_parse_tile, faces[row]["pixels"], row, pixels) for row in chosen])
    ids = np.array(chosen, np.int64)
    name = f"csv:{pixels.name}"
    if votes is None:
        own = [_parse(_parse_label, faces[row]["emotion"], row, pixels) for row in chosen]
        return FaceSet.of_labels(name, BASIC_SEVEN, tiles, np.array(own, np.int64), ids)
    table = _read_rows(votes, VOTE_COLUMNS)
    if len(table) != len(faces):
        raise DataError(f"{len(table)} vote rows for {len(faces)} faces", str(votes), "give a pair")
    counts = np.array([_parse(_parse_votes, table[row], row, votes) for row in chosen])
    training = {face["pixels"] for face in faces if face["Usage"] == USAGE["train"]}
    seen = np.array([split != "train" and faces[row]["pixels"] in training for row in chosen])
    return from_votes(name, tiles, counts, ids, seen, protocol)


def _parse(parse: Callable[[Any], Any], value: Any, row: int, path: Path) -> Any:
    try:
        return parse(value)
    except (ValueError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise DataError(
            f"face {row} cannot be read ({error})", str(path), "fetch the file again"
        ) from error


def _parse_tile(text: str) -> NDArray[np.uint8]:
    values = np.array(text.split(), np.int64)
    if len(values) != TILE_PX * TILE_PX or values.min() < 0 or values.max() > 255:
        raise ValueError(f"{len(values)} values, not {TILE_PX * TILE_PX} of 0..255")
    return values.reshape(TILE_PX, TILE_PX).astype(np.uint8)


def _parse_label(text: str) -> int:
    if text not in set("0123456"):
        raise ValueError(f"emotion {text!r}, not 0..6")
    return BASIC_SEVEN.index(FER2013_LABELS[int(text)])


def _parse_votes(row: dict[str, str]) -> list[int]:
    counts = [int(row[key]) for key in VOTE_COLUMNS]
    if min(counts) < 0:
        raise ValueError(f"{min(counts)} votes")
    return counts


def _read_rows(path: Path, wanted: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns, rows = reader.fieldnames or [], list(reader)
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError("not a CSV file", str(path), f"needs {', '.join(wanted)}") from error
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise DataError(f"no column {missing[0]!r}", str(path), f"needs {', '.join(wanted)}")
    return rows
