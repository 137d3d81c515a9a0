"""Image folders in the layouts that data sets come in.

    plain       DIR/[train|test/]CLASS/*.png            class folders, named in words
    rafdb       DIR/EmoLabel/list_patition_label.txt    with DIR/Image/aligned/*_aligned.jpg
    kdef        DIR/**/AF01ANS.JPG                      subject and expression in the name
    affectnet   DIR/train_set|val_set/images/*.jpg      with annotations/*_exp.npy
    sfew        DIR/Train|Val/CLASS/*.png

Pictures are read as RGB and brought to 112 x 112, whole: they hold one aligned face each.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from models.crops import CROP_PX
from models.emotions import (
    AFFECTNET_LABELS,
    BASIC_SEVEN,
    EMOTIONS,
    FOLDER_NAMES,
    KDEF_CODES,
    RAFDB_LABELS,
)
from trainer.data.faceset import FaceSet
from trainer.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
KDEF_TEST_SUBJECTS = 14
"""Of 70 subjects, the last 14 by name are the test split: no face stands on both sides."""
Labelled = list[tuple[Path, str]]


def read_folder(layout: str, root: Path, split: str) -> FaceSet:
    """The faces of one split ("train" or "test"), classes in the order of EMOTIONS.

    Raises DataError for an unknown layout, a missing folder, no pictures, or one that is damaged.
    """
    if layout not in LAYOUTS:
        raise DataError("no such layout", f"folder:{layout}", f"give one of {', '.join(LAYOUTS)}")
    if not root.is_dir():
        raise DataError("no such folder", str(root), "give the data set's top folder")
    found = sorted(LAYOUTS[layout](root, split))
    if not found:
        raise DataError(f"no {split} pictures", str(root), f"is this the layout of {layout}?")
    classes = EMOTIONS if any(label == EMOTIONS[7] for _, label in found) else BASIC_SEVEN
    tiles = np.stack([_picture(path) for path, _ in found])
    labels = np.array([classes.index(label) for _, label in found], np.int64)
    return FaceSet.of_labels(f"folder:{layout}:{root.name}", classes, tiles, labels)


def _picture(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise DataError("unreadable picture", str(path), "remove or replace it")
    shrinks = picture.shape[0] > CROP_PX
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(picture, (CROP_PX, CROP_PX), interpolation=how).astype(np.uint8)


def _pictures(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES]


def _class_folders(folder: Path) -> Labelled:
    found: Labelled = []
    for place in folder.iterdir() if folder.is_dir() else ():
        if place.is_dir():
            if place.name.lower() not in FOLDER_NAMES:
                raise DataError(
                    "class folder not understood", str(place), f"name it {', '.join(EMOTIONS)}"
                )
            found += [(path, FOLDER_NAMES[place.name.lower()]) for path in _pictures(place)]
    return found


def _plain(root: Path, split: str) -> Labelled:
    return _class_folders(root / split if (root / split).is_dir() else root)


def _sfew(root: Path, split: str) -> Labelled:
    return _class_folders(root / {"train": "Train", "test": "Val"}[split])


def _rafdb(root: Path, split: str) -> Labelled:
    listing = root / "EmoLabel" / "list_patition_label.txt"
    if not listing.is_file():
        raise DataError("no such list", str(listing), "give the folder that holds EmoLabel/")
    rows = [line.split() for line in listing.read_text(encoding="utf-8").splitlines() if line]
    aligned = root / "Image" / "aligned"
    return [
        (aligned / f"{Path(name).stem}_aligned.jpg", RAFDB_LABELS[int(label) - 1])
        for name, label in rows
        if name.startswith(split)
    ]


def _kdef(root: Path, split: str) -> Labelled:
    found = [(path, path.stem.upper()) for path in _pictures(root) if path.stem[4:6] in KDEF_CODES]
    subjects = sorted({name[1:4] for _, name in found})
    tested = set(subjects[-KDEF_TEST_SUBJECTS:])
    return [
        (path, KDEF_CODES[name[4:6]])
        for path, name in found
        if (name[1:4] in tested) == (split == "test")
    ]


def _affectnet(root: Path, split: str) -> Labelled:
    folder = root / {"train": "train_set", "test": "val_set"}[split]
    found: Labelled = []
    for path in _pictures(folder / "images"):
        note = folder / "annotations" / f"{path.stem}_exp.npy"
        label = int(np.load(note, allow_pickle=False)) if note.is_file() else len(AFFECTNET_LABELS)
        if label < len(AFFECTNET_LABELS):
            found.append((path, AFFECTNET_LABELS[label]))
    return found


LAYOUTS: dict[str, Callable[[Path, str], Labelled]] = {
    "plain": _plain,
    "rafdb": _rafdb,
    "kdef": _kdef,
    "affectnet": _affectnet,
    "sfew": _sfew,
}
