"""Predictions saved in files: one small file for each condition that was evaluated.

An npz of `probabilities` (n, K) float16, `found`, `seen` (n,) bool, `labels` (n,) uint8, `ids` (n,)
int64, where raters voted `votes` (n, K) uint16, and `about`, JSON: weights and their card, data,
protocol, averaging, way, condition, classes. All metrics of `evaluate` and `report` can be computed
again from these files.
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
from trainer.compare.report import hash_weights
from trainer.data.faceset import FaceSet
from trainer.errors import DataError

VERSION = 1
KEY_FIELDS = ("weights", "data", "protocol", "averaging", "way", "condition", "sha256", "n")
"""The fields of `about` by which two evaluations are two files."""
CARD_FIELDS = ("name", "model", "network", "data", "recipe", "git")
"""What of a card is saved with predictions."""


@dataclass(frozen=True)
class SavedPredictions:
    """The content of a file: how it was made, the predictions, and the faces.

    Tiles are not saved: those of `faces` are 1 x 1 here. All else is as it was evaluated.
    """

    about: dict[str, Any]
    predictions: Predictions
    faces: FaceSet


def describe_evaluation(weights: Path, faces: FaceSet, averaging: str, way: str) -> dict[str, Any]:
    """The `about` of predictions, all but the condition.

    `averaging` is "flip" (horizontal-flip TTA) or "none"; `way` is "tiles", or in an end-to-end
    evaluation the detector, and its conditioning where that is not the default.
    """
    card = dataclasses.asdict(read_card(weights))
    return {
        "version": VERSION,
        "weights": weights.stem,
        "sha256": hash_weights(weights),
        "card": {key: card[key] for key in CARD_FIELDS},
        "data": faces.name,
        "protocol": faces.protocol,
        "averaging": averaging,
        "way": way,
        "classes": list(faces.classes),
        "n": len(faces),
    }


def save_predictions(
    folder: Path, about: dict[str, Any], condition: str, predictions: Predictions, faces: FaceSet
) -> Path:
    """Save the predictions under one condition; the same evaluation again replaces its file.

    Raises UndercamError where nothing can be written.
    """
    about = about | {"condition": condition}
    path = folder / _file_name(about)
    votes: dict[str, Any] = {}
    if faces.votes is not None:
        votes["votes"] = faces.votes.astype(np.uint16)
    with writing(path) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(
            file,
            about=np.array(json.dumps(about, sort_keys=True)),
            probabilities=to_half(predictions.probabilities),
            found=predictions.found,
            labels=faces.labels.astype(np.uint8),
            ids=faces.ids,
            seen=faces.seen_in_training,
            **votes,
        )
    return path


def load_predictions(path: Path) -> SavedPredictions:
    """Read what `save_predictions` wrote; raises DataError for any other file."""
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
                file["votes"] if "votes" in file.files else None,
            )
            predictions = Predictions(file["probabilities"].astype(np.float32), file["found"])
    except (OSError, ValueError, KeyError, IndexError, EOFError, BadZipFile, zlib.error) as error:
        remedy = "give a file that `undercam evaluate --save-predictions` wrote"
        raise DataError("not saved predictions", str(path), remedy) from error
    return SavedPredictions(about, predictions, faces)


def to_half(probabilities: NDArray[np.float32]) -> NDArray[np.float16]:
    """Float16 with the same most probable class in every row.

    Rounding can make two probabilities equal, and argmax then takes the first of them: the right
    one is raised by one unit in the last place.
    """
    half = probabilities.astype(np.float16)
    winner = probabilities.argmax(axis=1)
    tied = np.flatnonzero(half.argmax(axis=1) != winner)
    half[tied, winner[tied]] = np.nextafter(half[tied].max(axis=1), np.float16(2))
    return half


def _file_name(about: dict[str, Any]) -> str:
    readable = "_".join([about["weights"], about["data"], about["condition"]])
    short = re.sub(r"[^a-zA-Z0-9-]+", "-", readable)[:80].strip("-")
    key = json.dumps([about[name] for name in KEY_FIELDS])
    return f"{short}_{hashlib.sha256(key.encode()).hexdigest()[:12]}.npz"
