"""fer2013.csv as it is published, made small: with votes, without, and damaged."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.emotions import BASIC_SEVEN, EMOTIONS
from trainer.data.faceset import FaceSet
from trainer.data.readers import open_faces
from trainer.errors import DataError

USAGES = ("Training", "Training", "PublicTest", "PrivateTest", "PublicTest", "Training")
LABELS = (0, 3, 6, 4, 5, 2)  # angry happy neutral sad surprise fear
NAMES = ("anger", "happiness", "neutral", "sadness", "surprise", "fear")
VOTES = (*EMOTIONS, "unknown", "NF")
Row = list[str]


def tile(row: int) -> list[int]:
    """Row 4 has the pixels of row 0."""
    return np.random.default_rng(row % 4).integers(0, 256, 48 * 48).tolist()


def write(path: Path, header: Row, rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def pixels(tmp_path: Path) -> Path:
    rows = [
        [str(label), " ".join(map(str, tile(row))), usage]
        for row, (label, usage) in enumerate(zip(LABELS, USAGES, strict=True))
    ]
    write(tmp_path / "fer2013.csv", ["emotion", "pixels", "Usage"], rows)
    return tmp_path / "fer2013.csv"


@pytest.fixture
def votes(tmp_path: Path) -> Path:
    """Each face nine votes for its name and one elsewhere; row 2 has no majority."""
    rows = []
    for row, name in enumerate(NAMES):
        count = dict.fromkeys(VOTES, 0) | {name: 9, "contempt": 1}
        if row == 2:
            count = dict.fromkeys(VOTES, 1)
        rows.append([USAGES[row], f"fer{row:07d}.png", *(str(count[key]) for key in VOTES)])
    write(tmp_path / "fer2013new.csv", ["Usage", "Image name", *VOTES], rows)
    return tmp_path / "fer2013new.csv"


def names(faces: FaceSet) -> list[str]:
    return [faces.classes[label] for label in faces.labels]


def test_alone_seven_classes(pixels: Path) -> None:
    train = open_faces(f"csv:{pixels}", split="train")
    test = open_faces(f"csv:{pixels}", split="test")
    assert train.classes == test.classes == BASIC_SEVEN
    assert names(train) == ["anger", "happiness", "fear"]
    assert names(test) == ["neutral", "surprise"]
    assert train.ids.tolist() == [0, 1, 5]
    assert test.ids.tolist() == [2, 4]
    assert np.array_equal(train.tiles[1], np.reshape(tile(1), (48, 48)))
    assert (train.name, train.protocol) == ("csv:fer2013.csv", "labels")


def test_with_votes_eight_classes(pixels: Path, votes: Path) -> None:
    train = open_faces(f"csv:{pixels},{votes}", split="train")
    assert train.classes == EMOTIONS
    assert names(train) == ["anger", "happiness", "fear"]
    assert train.targets.max(axis=1).tolist() == [1, 1, 1]  # the single votes are struck
    assert train.protocol == "ms_majority"
    assert not train.seen_in_training.any()


def test_with_votes_the_protocol_decides(pixels: Path, votes: Path) -> None:
    kept = open_faces(f"csv:{pixels},{votes}")
    assert (names(kept), kept.ids.tolist()) == (["surprise"], [4])
    every = open_faces(f"csv:{pixels},{votes}", "no_drop")
    assert (names(every), every.ids.tolist()) == (["neutral", "surprise"], [2, 4])


def test_faces_that_stand_in_training_are_known(pixels: Path, votes: Path) -> None:
    every = open_faces(f"csv:{pixels},{votes}", "no_drop")
    assert every.seen_in_training.tolist() == [False, True]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda rows: rows[0].__setitem__(1, "pixel"), r"no column 'pixels': .*fer2013\.csv"),
        (lambda rows: rows[1].__setitem__(1, "1 2 3"), r"face 0 cannot be read \(3 values, not"),
        (lambda rows: rows[1].__setitem__(1, rows[1][1] + " 256"), "face 0 cannot be read"),
        (lambda rows: rows[2].__setitem__(1, "256 " * 2304), "face 1 cannot be read"),
        (lambda rows: rows[2].__setitem__(1, "-1 " * 2304), "face 1 cannot be read"),
        (lambda rows: rows[2].__setitem__(1, "x " * 2304), "face 1 cannot be read"),
        (lambda rows: rows[2].__setitem__(1, f"{2**70} " * 2304), "face 1 cannot be read"),
        (lambda rows: rows[2].__setitem__(0, "7"), "face 1 cannot be read"),
        (lambda rows: rows[2].__setitem__(0, "-1"), "face 1 cannot be read"),
        (lambda rows: rows[2].__setitem__(0, ""), "face 1 cannot be read .emotion '', not 0..6"),
        (lambda rows: rows[2].__setitem__(0, "12"), "face 1 cannot be read"),
        (lambda rows: rows.__delitem__(slice(1, None)), "no Training faces: .*fer2013.csv"),
    ],
    ids=range(12),
)
def test_damaged_pixels(pixels: Path, damage: Callable[[list[Row]], None], said: str) -> None:
    with pixels.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    damage(rows)
    write(pixels, rows[0], rows[1:])
    with pytest.raises(DataError, match=said):
        open_faces(f"csv:{pixels}", split="train")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda rows: rows[0].__setitem__(11, "NotFace"), r"no column 'NF': .*fer2013new\.csv"),
        (lambda rows: rows.pop(), "5 vote rows for 6 faces: .*: give a pair"),
        (lambda rows: rows[1].__setitem__(4, "many"), "face 0 cannot be read"),
        (lambda rows: rows[1].__setitem__(4, "-2"), r"face 0 cannot be read \(-2 votes\)"),
        (lambda rows: rows[1].__delitem__(slice(5, None)), "face 0 cannot be read"),
    ],
    ids=range(5),
)
def test_damaged_votes(
    pixels: Path, votes: Path, damage: Callable[[list[Row]], None], said: str
) -> None:
    with votes.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    damage(rows)
    write(votes, rows[0], rows[1:])
    with pytest.raises(DataError, match=said):
        open_faces(f"csv:{pixels},{votes}", split="train")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x89PNG", b'"' + b"1 " * 100_000, b""])
def test_no_csv_at_all(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"(not a CSV file|no column 'emotion'): .*f\.csv"):
        open_faces(f"csv:{tmp_path / 'f.csv'}")


def test_missing_files(pixels: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such data file: .*gone\.csv: check the path"):
        open_faces(f"csv:{pixels},{tmp_path / 'gone.csv'}")
    with pytest.raises(DataError, match=r"no such data file: \(nothing\)"):
        open_faces("csv:")
