"""Opens labelled faces by one short address, `kind:place`.

ferplus:training|public        the FER+ sheets under $UNDERCAM_DATA
ferplus:cut                    the validation cut of training
sheet:IMAGE,LABELS.npz       a sheet of 48x48 tiles, 340 a row, with FER+ votes
csv:fer2013.csv,fer2013new.csv FER2013's pixels with FER+'s votes; csv:fer2013.csv alone: 7 classes
npz:FILE                       arrays `image` (n, h, w[, 3]) and `label` (n,), optional `classes`
folder:LAYOUT:DIR              image folders, see `trainer.data.layouts`
shards:PLACE                   WebDataset shards, see `trainer.data.shards`
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import cv2
import numpy as np

from models.emotions import BASIC_SEVEN, EMOTIONS
from trainer.data.faceset import FaceSet
from trainer.data.fer2013 import read_csv
from trainer.data.ferplus import PROTOCOLS, from_votes, select_validation_cut
from trainer.data.folders import read_folder
from trainer.data.images import open_image
from trainer.data.shards import read_shards
from trainer.errors import DataError, OptionError

SPLITS = {"training": "training", "public": "public_test", "cut": "training"}
TILE_PX, TILES_A_ROW, SPARE_ROWS = 48, 340, 10
NPZ = "give image (n, h, w) or (n, h, w, 3) uint8 and label (n,) of whole numbers"
KINDS = "ferplus:, sheet:, csv:, npz:, folder: or shards:"


def open_faces(address: str, protocol: str = "ms_majority", split: str = "test") -> FaceSet:
    """Read the faces at `address`; `split` ("train" or "test") where the layout holds both.

    Raises DataError: what is missing or wrong, where, and what to give instead.
    """
    if protocol not in PROTOCOLS:
        raise OptionError("no such protocol", protocol, f"give one of {', '.join(PROTOCOLS)}")
    kind, _, place = address.partition(":")
    if kind == "ferplus":
        return _read_ferplus(place, protocol)
    if kind == "sheet":
        image, _, labels = place.partition(",")
        return _read_sheet(address, _existing_file(image), _existing_file(labels), protocol)
    if kind == "csv":
        pixels, _, votes = place.partition(",")
        return read_csv(
            _existing_file(pixels), _existing_file(votes) if votes else None, split, protocol
        )
    if kind == "npz":
        return _read_npz(_existing_file(place))
    if kind == "folder":
        layout, _, folder = place.partition(":")
        return read_folder(layout, _existing_folder(folder), split)
    if kind == "shards":
        return read_shards(place, split)
    raise OptionError("no such kind of data", address, f"start it with {KINDS}")


def _existing_file(name: str) -> Path:
    path = Path(name)
    if not path.is_file():
        raise DataError("no such data file", name or "(nothing)", "check the path")
    return path


def _existing_folder(name: str) -> Path:
    path = Path(name)
    if not (name and path.is_dir()):
        raise DataError("no such folder", name or "(nothing)", "give the data set's top folder")
    return path


def _read_ferplus(split: str, protocol: str) -> FaceSet:
    if split not in SPLITS:
        raise OptionError("no such split", f"ferplus:{split}", f"give one of {', '.join(SPLITS)}")
    root = os.environ.get("UNDERCAM_DATA")
    if not root:
        raise DataError(
            "FER+ not available",
            f"ferplus:{split}",
            "set UNDERCAM_DATA to the folder that holds data/ferplus, or give csv: or sheet:",
        )
    stem = Path(root) / "data" / "ferplus" / SPLITS[split]
    labels = stem.with_name(f"{stem.name}_labels.npz")
    faces = _read_sheet(
        f"ferplus:{split}",
        _existing_file(str(stem.with_suffix(".webp"))),
        _existing_file(str(labels)),
        protocol,
    )
    if split != "cut":
        return faces
    if protocol != "ms_majority":
        raise OptionError("the cut has only faces with a majority", protocol, "give ms_majority")
    return faces[select_validation_cut(faces)]


def _read_sheet(name: str, image: Path, labels: Path, protocol: str) -> FaceSet:
    table = _read_arrays(labels, ("votes", "row"))
    may_be_one = _may_be_sheet(image, len(table["row"]))
    sheet = cv2.imread(str(image), cv2.IMREAD_UNCHANGED) if may_be_one else None
    if sheet is None:
        raise DataError(
            "not a sheet of tiles", str(image), f"{TILES_A_ROW} tiles of {TILE_PX} px a row"
        )
    grey = sheet if sheet.ndim == 2 else sheet[..., 0]
    tiles = grey.reshape(-1, TILE_PX, TILES_A_ROW, TILE_PX).swapaxes(1, 2)
    tiles = tiles.reshape(-1, TILE_PX, TILE_PX)
    votes, rows = table["votes"], table["row"]
    n = len(rows)
    seen = table.get("dup_of_earlier_split", np.zeros(n, bool))
    if votes.shape != (n, 10) or votes.dtype.kind not in "iu" or len(seen) != n:
        raise DataError(f"votes of shape {votes.shape}", str(labels), "give (n, 10) counts")
    if len(tiles) < n:
        raise DataError(f"{len(tiles)} tiles for {n} labels", name, "give a matching pair")
    return from_votes(name, tiles[:n], votes, rows, seen, protocol)


def _may_be_sheet(image: Path, tiles: int) -> bool:
    """By its header: a sheet with many more rows than labels is never decoded."""
    try:
        with open_image(image) as header:
            width, height = header.size
    except DataError:
        return False
    rows, rest = divmod(height, TILE_PX)
    most = -(-tiles // TILES_A_ROW) + SPARE_ROWS
    return width == TILE_PX * TILES_A_ROW and rest == 0 and rows <= most


def _read_npz(path: Path) -> FaceSet:
    table = _read_arrays(path, ("image", "label"))
    tiles, labels = table["image"], table["label"]
    if labels.shape != (len(tiles),) or labels.dtype.kind not in "iu" or len(tiles) == 0:
        raise DataError(f"label of shape {labels.shape} {labels.dtype}", str(path), NPZ)
    if "classes" in table:
        classes = tuple(str(name) for name in table["classes"])
    else:
        classes = BASIC_SEVEN if labels.max() < len(BASIC_SEVEN) else EMOTIONS
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DataError("label out of range", str(path), f"labels count 0..{len(classes) - 1}")
    try:
        return FaceSet.of_labels(f"npz:{path.name}", classes, tiles, labels.astype(np.int64))
    except ValueError as error:
        raise DataError(f"unusable image array ({error})", str(path), NPZ) from error


def _read_arrays(path: Path, wanted: tuple[str, ...]) -> dict[str, Any]:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            table = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, TypeError, BadZipFile, zlib.error) as error:
        raise DataError("not a readable npz file", str(path), "give a file of arrays") from error
    missing = [name for name in wanted if name not in table]
    if missing:
        raise DataError(f"no array {missing[0]!r}", str(path), f"it needs {', '.join(wanted)}")
    return table
