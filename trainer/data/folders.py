"""Image folders in the layouts that data sets come in.

    plain       DIR/[train|test/]CLASS/*.png            class folders by name
    rafdb       DIR/EmoLabel/list_patition_label.txt    with DIR/Image/aligned/*_aligned.jpg
    rafdb-compound  the same with eleven labels
    kdef        DIR/**/AF01ANS.JPG                      subject and expression in the name
    kdef-random the same, its test split sampled by image: persons are in both splits
    affectnet   DIR/train_set|val_set/images/*.jpg      with annotations/*_exp.npy
    affectnet-7 the same without contempt
    sfew        DIR/Train|Val/CLASS/*.png

Images are read as RGB and resized to 112 x 112, uncropped: each holds one aligned face.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from models.crops import resize_to_crop
from models.emotions import (
    AFFECTNET_LABELS,
    BASIC_SEVEN,
    COMPOUND_EMOTIONS,
    EMOTIONS,
    FOLDER_NAMES,
    KDEF_CODES,
    RAFDB_LABELS,
)
from trainer.data.faceset import FaceSet
from trainer.data.images import SUFFIXES, read_image
from trainer.errors import DataError, OptionError

CONTEMPT = EMOTIONS[7]
KDEF_TEST_SUBJECTS = 7
"""Of 35 women and of 35 men, the last 7 by name are the test split: no person is in both."""
Labelled = list[tuple[Path, str]]


def read_folder(layout: str, root: Path, split: str) -> FaceSet:
    """The faces of one split ("train" or "test"), classes in the order of EMOTIONS, compound ones
    in that of COMPOUND_EMOTIONS.

    Raises DataError for an unknown layout, a missing folder, no images, or a damaged one.
    """
    found = list_images(layout, root, split)
    if not found:
        raise DataError(f"no {split} images", str(root), f"is this the layout of {layout}?")
    classes = find_classes({label for _, label in found})
    tiles = np.stack([resize_to_crop(read_image(path)) for path, _ in found])
    labels = np.array([classes.index(label) for _, label in found], np.int64)
    return FaceSet.of_labels(f"folder:{layout}:{root.name}", classes, tiles, labels)


def find_classes(labels: set[str]) -> tuple[str, ...]:
    """The smallest set of classes, in order, that holds labels: eight, seven or eleven emotions."""
    basic = EMOTIONS if CONTEMPT in labels else BASIC_SEVEN
    if labels.isdisjoint(COMPOUND_EMOTIONS):
        return basic
    return (*(() if labels.isdisjoint(basic) else basic), *COMPOUND_EMOTIONS)


def list_images(layout: str, root: Path, split: str) -> Labelled:
    """The image files of one split, each with its label, in the order of their paths.

    Raises DataError for an unknown layout or a missing folder; there may be no images.
    """
    if layout not in LAYOUTS:
        raise OptionError("no such layout", f"folder:{layout}", f"give one of {', '.join(LAYOUTS)}")
    if not root.is_dir():
        raise DataError("no such folder", str(root), "give the data set's top folder")
    return sorted(LAYOUTS[layout](root, split))


def _images(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES]


def _class_folders(folder: Path) -> Labelled:
    found: Labelled = []
    for place in folder.iterdir() if folder.is_dir() else ():
        if place.is_dir():
            if place.name.lower() not in FOLDER_NAMES:
                raise DataError(
                    "unknown class folder", str(place), f"name it {', '.join(EMOTIONS)}"
                )
            found += [(path, FOLDER_NAMES[place.name.lower()]) for path in _images(place)]
    return found


def _plain(root: Path, split: str) -> Labelled:
    has_splits = any((root / name).is_dir() for name in ("train", "test"))
    return _class_folders(root / split if has_splits else root)


def _sfew(root: Path, split: str) -> Labelled:
    return _class_folders(root / {"train": "Train", "test": "Val"}[split])


def _rafdb(root: Path, split: str) -> Labelled:
    return _rafdb_list(root, split, RAFDB_LABELS)


def _rafdb_compound(root: Path, split: str) -> Labelled:
    return _rafdb_list(root, split, tuple(COMPOUND_EMOTIONS))


def _rafdb_list(root: Path, split: str, labels: Sequence[str]) -> Labelled:
    listing = root / "EmoLabel" / "list_patition_label.txt"
    if not listing.is_file():
        raise DataError("no such list", str(listing), "give the folder that holds EmoLabel/")
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


LAYOUTS: dict[str, Callable[[Path, str], Labelled]] = {
    "plain": _plain,
    "rafdb": _rafdb,
    "rafdb-compound": _rafdb_compound,
    "kdef": _kdef,
    "kdef-random": _kdef_random,
    "affectnet": _affectnet,
    "affectnet-7": _affectnet_7,
    "sfew": _sfew,
}
