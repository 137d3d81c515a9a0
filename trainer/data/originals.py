"""Every image of a labelled data set with its id, split and label; pixels are read when needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.folders import list_images, wrong_layout
from trainer.data.images import read_image
from trainer.data.readers import open_faces

KINDS = ("folder", "ferplus", "sheet", "csv", "npz", "shards")
"""What the address of a data set begins with; see `trainer.data.readers`."""


@dataclass(frozen=True)
class Original:
    """An image as it was read: a file, or what gives a tile (h, w[, 3]) uint8. `split` is "" where
    the data set has none; `noise` names the data set in the seed of noise."""

    noise: str
    id: str
    split: str
    label: str
    image: Path | Callable[[], NDArray[np.uint8]]

    def pixels(self) -> NDArray[np.uint8]:
        """(h, w) grey or (h, w, 3) RGB uint8; raises DataError for a file that is not an image."""
        return read_image(self.image) if isinstance(self.image, Path) else self.image()


def list_originals(address: str) -> list[Original]:
    """Every image at an address of labelled faces, of both splits where the layout has both.

    `ferplus:all` is Training and PublicTest. Raises DataError where there are none.
    """
    kind, _, place = address.partition(":")
    if kind == "folder":
        layout, _, folder = place.partition(":")
        found = _in_folders(layout, Path(folder))
    elif address == "ferplus:all":
        found = _tiles("ferplus:training", "train") + _tiles("ferplus:public", "test")
    else:
        has_splits = kind == "csv" or "{split}" in place
        splits = ("train", "test") if has_splits else ("",)
        found = [tile for split in splits for tile in _tiles(address, split)]
    return found


def _in_folders(layout: str, root: Path) -> list[Original]:
    train, test = (list_images(layout, root, split) for split in ("train", "test"))
    if not train and not test:
        raise wrong_layout("no images", layout, root)
    splits = {"": train} if train == test else {"train": train, "test": test}
    return [
        Original(f"folder:{layout}", path.relative_to(root).as_posix(), split, label, path)
        for split, images in splits.items()
        for path, label in images
    ]


def _tiles(address: str, split: str) -> list[Original]:
    faces = open_faces(address, split=split or "test")
    return [
        Original(
            *(faces.name, str(number), split, faces.classes[label]),
            partial(faces.tiles.__getitem__, row),
        )
        for row, (number, label) in enumerate(zip(faces.ids, faces.labels, strict=True))
    ]


def file_names(found: Sequence[Original]) -> list[str]:
    """A file name for each image: the last part of its id, or all of it where that is taken."""
    places = [(one.split, one.label, Path(one.id).stem) for one in found]
    taken = Counter(places)
    return [
        place[2] if taken[place] == 1 else one.id.replace("/", "_")
        for one, place in zip(found, places, strict=True)
    ]
