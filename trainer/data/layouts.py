"""The layouts of image folders: which files are the images of a split, and where labels stand."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.emotions import (
    AFFECTNET_LABELS,
    CKPLUS_LABELS,
    COMPOUND_EMOTIONS,
    EMOTIONS,
    FOLDER_NAMES,
    KDEF_CODES,
    RAFDB_LABELS,
)
from trainer.data.images import SUFFIXES
from trainer.errors import DataError

CONTEMPT = EMOTIONS[7]
KDEF_TEST_SUBJECTS = 7
"""Of 35 women and of 35 men, the last 7 by name are the test split: no person is in both."""
CKPLUS_TESTED = 10
"""Of the subjects by name, every tenth is in the test split."""
CKPLUS_PEAK = 3
"""Frames at the end of a sequence that show its label; its first one is neutral."""
CKPLUS_IMAGES = "cohn-kanade-images"
LABELS_FILE = "labels.toml"
"""In the top folder of `plain`: which folder is which emotion, where its name does not say it."""
Labelled = list[tuple[Path, str]]


@dataclass(frozen=True)
class Layout:
    """`find` lists the images of one split; `expected`: the files that it reads, for messages."""

    find: Callable[[Path, str], Labelled]
    expected: str


def _images(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES]


def _class_folders(folder: Path, names: Mapping[str, str] = FOLDER_NAMES) -> Labelled:
    found: Labelled = []
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        if place.is_dir() and not place.name.startswith("."):
            label = names.get(place.name.lower())
            if label is None:
                remedy = f"name it {', '.join(EMOTIONS)}, or say in {LABELS_FILE} which it is"
                raise DataError("unknown class folder", str(place), remedy)
            found += [(path, label) for path in _images(place)]
    return found


def read_label_map(root: Path) -> dict[str, str]:
    """The emotion of each class folder, by its name in lower case: FOLDER_NAMES, and what
    LABELS_FILE in the top folder adds (`Freude = "happiness"`); "" leaves a folder out.

    Raises DataError for a file that cannot be read, or names an emotion that there is not.
    """
    path = root / LABELS_FILE
    if not path.is_file():
        return dict(FOLDER_NAMES)
    known = {"", *EMOTIONS, *COMPOUND_EMOTIONS}
    try:
        own = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        what = f"unreadable labels ({error})"
        raise DataError(what, str(path), 'give lines of FOLDER = "emotion"') from error
    for name, label in own.items():
        if label not in known:
            remedy = f'give one of {", ".join(EMOTIONS)}, or "" to leave it out'
            raise DataError(f"{name} = {label!r}", str(path), remedy)
    return FOLDER_NAMES | {name.lower(): label for name, label in own.items()}


def _plain(root: Path, split: str) -> Labelled:
    has_splits = any((root / name).is_dir() for name in ("train", "test"))
    found = _class_folders(root / split if has_splits else root, read_label_map(root))
    return [(path, label) for path, label in found if label]


def _sfew(root: Path, split: str) -> Labelled:
    return _class_folders(root / {"train": "Train", "test": "Val"}[split])


def _rafdb(root: Path, split: str) -> Labelled:
    return _rafdb_list(root, split, RAFDB_LABELS)


def _rafdb_compound(root: Path, split: str) -> Labelled:
    return _rafdb_list(root, split, tuple(COMPOUND_EMOTIONS))


def _rafdb_list(root: Path, split: str, labels: Sequence[str]) -> Labelled:
    listing = root / "EmoLabel" / "list_patition_label.txt"
    if not listing.is_file():
        return []
    numbers = {str(number): label for number, label in enumerate(labels, start=1)}
    found: Labelled = []
    for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
        match line.split():
            case [name, number] if number in numbers:
                path = root / "Image" / "aligned" / f"{Path(name).stem}_aligned.jpg"
                if name.startswith(split):
                    found.append((path, numbers[number]))
            case [_, *_]:
                remedy = f"give NAME.jpg 1..{len(labels)} a line"
                raise DataError(f"line {line!r}", str(listing), remedy)
    return found


def draw_ids(ids: Iterable[str], count: int) -> set[str]:
    """`count` of the images' ids, sampled by their digests: the same on every machine."""
    return set(sorted(ids, key=lambda one: hashlib.sha256(one.encode()).digest())[:count])


def _kdef_random(root: Path, split: str) -> Labelled:
    tested = _kdef(root, "test")
    found = {path.relative_to(root).as_posix(): (path, label) for path, label in tested}
    found |= {p.relative_to(root).as_posix(): (p, label) for p, label in _kdef(root, "train")}
    chosen = draw_ids(found, len(tested))
    return [one for name, one in found.items() if (name in chosen) == (split == "test")]


def _kdef(root: Path, split: str) -> Labelled:
    named = [(path, path.stem.upper()) for path in _images(root)]
    found = [(path, name) for path, name in named if name[4:6] in KDEF_CODES]
    subjects = sorted({name[1:4] for _, name in found})
    sexes = ([subject for subject in subjects if subject[0] == sex] for sex in "FM")
    tested = {subject for sex in sexes for subject in sex[-KDEF_TEST_SUBJECTS:]}
    return [
        (path, KDEF_CODES[name[4:6]])
        for path, name in found
        if (name[1:4] in tested) == (split == "test")
    ]


def _affectnet(root: Path, split: str) -> Labelled:
    folder = root / {"train": "train_set", "test": "val_set"}[split]
    found: Labelled = []
    for path in _images(folder / "images"):
        note = folder / "annotations" / f"{path.stem}_exp.npy"
        label = _read_label(note) if note.is_file() else -1
        if 0 <= label < len(AFFECTNET_LABELS):
            found.append((path, AFFECTNET_LABELS[label]))
    return found


def _affectnet_7(root: Path, split: str) -> Labelled:
    return [(path, label) for path, label in _affectnet(root, split) if label != CONTEMPT]


def _read_label(note: Path) -> int:
    try:
        return int(np.load(note, allow_pickle=False).item())
    except (OSError, ValueError, EOFError) as error:
        raise DataError("unreadable label", str(note), "remove or replace it") from error


def _ckplus(root: Path, split: str) -> Labelled:
    sequences: list[tuple[list[Path], str]] = []
    for note in sorted((root / "Emotion").rglob("*_emotion.txt")):
        label = CKPLUS_LABELS[_read_ckplus_label(note)]
        frames = sorted(_images(root / CKPLUS_IMAGES / note.parent.relative_to(root / "Emotion")))
        if not frames:
            raise DataError("a label without frames", str(note), f"is {CKPLUS_IMAGES} complete?")
        sequences.append((frames, label))
    found: Labelled = []
    for frames, label in sequences:
        found += [(frames[0], EMOTIONS[0])] * (len(frames) > CKPLUS_PEAK)
        found += [(frame, label) for frame in frames[-CKPLUS_PEAK:]]
    return _of_subjects(found, split)


def _read_ckplus_label(note: Path) -> int:
    try:
        label = int(float(note.read_text(encoding="ascii")))
    except (OSError, ValueError, OverflowError) as error:
        raise DataError("unreadable label", str(note), "remove or replace it") from error
    if not 0 <= label < len(CKPLUS_LABELS):
        raise DataError(f"label {label}", str(note), f"labels are 0..{len(CKPLUS_LABELS) - 1}")
    return label


def _ck48(root: Path, split: str) -> Labelled:
    named = [(path, label) for path, label in _class_folders(root) if path.stem[:1] == "S"]
    return _of_subjects(named, split)


def _of_subjects(found: Labelled, split: str) -> Labelled:
    """The images of one split by the subject that a file name begins with: S005_001_00000011."""
    subjects = sorted({path.name.partition("_")[0] for path, _ in found})
    tested = set(subjects[CKPLUS_TESTED - 1 :: CKPLUS_TESTED])
    return [
        (path, label)
        for path, label in found
        if (path.name.partition("_")[0] in tested) == (split == "test")
    ]


RAFDB_FILES = (
    "EmoLabel/list_patition_label.txt and Image/aligned/train_00001_aligned.jpg, test_0001_..."
)
AFFECTNET_FILES = "train_set|val_set/images/0.jpg with train_set|val_set/annotations/0_exp.npy"
LAYOUTS: dict[str, Layout] = {
    "plain": Layout(_plain, "a folder for each class, CLASS/*.png or train|test/CLASS/*.png"),
    "rafdb": Layout(_rafdb, RAFDB_FILES),
    "rafdb-compound": Layout(_rafdb_compound, RAFDB_FILES),
    "kdef": Layout(_kdef, "subject and expression in the names, AF01/AF01ANS.JPG"),
    "kdef-random": Layout(_kdef_random, "the same as kdef, split by image: persons are in both"),
    "affectnet": Layout(_affectnet, AFFECTNET_FILES),
    "affectnet-7": Layout(_affectnet_7, f"{AFFECTNET_FILES}, contempt left out"),
    "sfew": Layout(_sfew, "Train|Val/CLASS/*.png"),
    "ckplus": Layout(
        _ckplus,
        f"{CKPLUS_IMAGES}/S005/001/*.png with Emotion/S005/001/S005_001_00000011_emotion.txt",
    ),
    "ck48": Layout(_ck48, "CLASS/S005_001_00000011.png, the subject in the names"),
}
"""By the name in `folder:LAYOUT:DIR`."""
