"""Image folders in the layouts that data sets come in (`trainer.data.layouts`).

Images are read as RGB and resized to 112 x 112, uncropped: each holds one aligned face.
(`undercam data crop` makes such a folder of photographs.)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.crops import resize_to_crop
from models.emotions import BASIC_SEVEN, COMPOUND_EMOTIONS, EMOTIONS
from trainer.data.faceset import FaceSet
from trainer.data.images import read_image
from trainer.data.layouts import CONTEMPT, LAYOUTS, Labelled
from trainer.errors import DataError, OptionError

SHOWN = 4
"""Names that a message lists of a folder."""


def read_folder(layout: str, root: Path, split: str) -> FaceSet:
    """The faces of one split ("train" or "test"), classes in the order of EMOTIONS, compound ones
    in that of COMPOUND_EMOTIONS.

    Raises DataError for an unknown layout, a folder that is laid out otherwise, no images, or a
    damaged one.
    """
    found = list_images(layout, root, split)
    if not found:
        raise wrong_layout(f"no {split} images", layout, root)
    classes = find_classes({label for _, label in found})
    tiles = np.stack([resize_to_crop(read_image(path)) for path, _ in found])
    labels = np.array([classes.index(label) for _, label in found], np.int64)
    return FaceSet.of_labels(f"folder:{layout}:{root.name}", classes, tiles, labels)


def wrong_layout(what: str, layout: str, root: Path) -> DataError:
    """The error for a folder that is not laid out as expected: what it should hold, what it holds,
    and which layout that is."""
    expected, found = LAYOUTS[layout].expected, describe_folder(root)
    remedy = f"{layout} has {expected}; here {found}{_guess(layout, root)}"
    return DataError(what, str(root), remedy)


def _guess(layout: str, root: Path) -> str:
    """The other layouts that the folder has, as the end of a sentence; "" for none."""
    if not root.is_dir():
        return ""
    fits = [name for name in LAYOUTS if name != layout and _has_images(name, root)]
    return f"; it is laid out like {' or '.join(fits)}" if fits else ""


def _has_images(layout: str, root: Path) -> bool:
    try:
        return any(LAYOUTS[layout].find(root, split) for split in ("train", "test"))
    except (DataError, OSError):
        return False


def describe_folder(root: Path) -> str:
    """What a folder holds, in a few words: its first folders and files."""
    entries = sorted(root.iterdir())
    kinds = (
        ("folders", [entry.name for entry in entries if entry.is_dir()]),
        ("files", [entry.name for entry in entries if entry.is_file()]),
    )
    parts = [
        f"{len(names)} {kind} ({', '.join(names[:SHOWN])}{', ...' * (len(names) > SHOWN)})"
        for kind, names in kinds
        if names
    ]
    return "are " + " and ".join(parts) if parts else "is nothing"


def find_classes(labels: set[str]) -> tuple[str, ...]:
    """The smallest set of classes, in order, that holds labels: eight, seven or eleven emotions."""
    basic = EMOTIONS if CONTEMPT in labels else BASIC_SEVEN
    if labels.isdisjoint(COMPOUND_EMOTIONS):
        return basic
    return (*(() if labels.isdisjoint(basic) else basic), *COMPOUND_EMOTIONS)


def list_images(layout: str, root: Path, split: str) -> Labelled:
    """The image files of one split, each with its label, in the order of their paths.

    Raises DataError for an unknown layout, a missing folder and labels that cannot be; there may be
    no images.
    """
    if layout not in LAYOUTS:
        raise OptionError("no such layout", f"folder:{layout}", f"give one of {', '.join(LAYOUTS)}")
    if not root.is_dir():
        raise DataError("no such folder", str(root), "give the data set's top folder")
    try:
        return sorted(LAYOUTS[layout].find(root, split))
    except DataError as error:
        if hint := _guess(layout, root):
            raise DataError(error.what, error.where, f"{error.remedy}{hint}") from error
        raise
