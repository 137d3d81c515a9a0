"""What was said of every face, kept: one small file for each condition that was evaluated.

An npz of `probabilities` (n, K) float16, `found`, `seen` (n,) bool, `labels` (n,) uint8, `ids` (n,)
int64, and `about`, JSON: weights and their card, data, protocol, averaging, way, condition,
classes. From these files every figure of `evaluate` and `report` can be made again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from models.atomic_files import writing
from models.weights import read_card
from trainer.compare.evaluate import Predictions
from trainer.compare.report import sha256_of
from trainer.data.faceset import FaceSet
from trainer.errors import DataError

VERSION = 1
NAMED_BY = ("weights", "data", "protocol", "averaging", "way", "condition", "sha256", "n")
"""The facts that make two evaluations two files."""


@dataclass(frozen=True)
class SavedPredictions:
    """What a file holds: the facts, what was said, and of whom.

    The tiles of `faces` are not kept: they are 1 x 1 here. All else is as it was evaluated.
    """

    about: dict[str, Any]
    predictions: Predictions
    faces: FaceSet


def facts(weights: Path, faces: FaceSet, averaging: str, way: str) -> dict[str, Any]:
    """What is written beside predictions; `way` is "tiles", or after a video the detector, and
    how pictures were conditioned for it where that is not the default."""
    told = dataclasses.asdict(read_card(weights))
    return {
        "version": VERSION,
        "weights": weights.stem,
        "sha256": sha256_of(weights),
        "card": {key: told[key] for key in ("name", "model", "network", "data", "recipe", "git")},
        "data": faces.name,
        "protocol": faces.protocol,
        "averaging": averaging,
        "way": way,
        "classes": list(faces.classes),
        "n": len(faces),
    }


def write(
    folder: Path, about: dict[str, Any], condition: str, said: Predictions, faces: FaceSet
) -> Path:
    """Keep what was said under one condition; the same evaluation again replaces its file.

    Raises UndercamError where nothing can be written.
    """
    about = about | {"condition": condition}
    path = folder / _name(about)
    with writing(path) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(
            file,
            about=np.array(json.dumps(about, sort_keys=True)),
            probabilities=as_half(said.probabilities),
            found=said.found,
            labels=faces.labels.astype(np.uint8),
            ids=faces.ids,
            seen=faces.seen_in_training,
        )
    return path


def read(path: Path) -> SavedPredictions:
    """What `write` kept; raises DataError for any other file."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            labels = file["labels"].astype(np.int64)
            classes = tuple(about["classes"])
            faces = FaceSet(
                about["data"],
                about["protocol"],
                classes,
                np.zeros((len(labels), 1, 1), np.uint8),
                np.eye(len(classes), dtype=np.float32)[labels],
                labels,
                file["ids"],
                file["seen"],
            )
            said = Predictions(file["probabilities"].astype(np.float32), file["found"])
    except (OSError, ValueError, KeyError, IndexError, EOFError, BadZipFile, zlib.error) as error:
        remedy = "give a file that `undercam evaluate --keep` wrote"
        raise DataError("not kept predictions", str(path), remedy) from error
    return SavedPredictions(about, said, faces)


def as_half(probabilities: NDArray[np.float32]) -> NDArray[np.float16]:
    """Float16 with the same likeliest class in every row: the winner of a near tie is lifted."""
    half = probabilities.astype(np.float16)
    winner = probabilities.argmax(axis=1)
    tied = np.flatnonzero(half.argmax(axis=1) != winner)
    half[tied, winner[tied]] = np.nextafter(half[tied].max(axis=1), np.float16(2))
    return half


def _name(about: dict[str, Any]) -> str:
    shown = "_".join([about["weights"], about["data"], about["condition"]])
    short = re.sub(r"[^a-zA-Z0-9-]+", "-", shown)[:80].strip("-")
    key = json.dumps([about[name] for name in NAMED_BY])
    return f"{short}_{hashlib.sha256(key.encode()).hexdigest()[:12]}.npz"
