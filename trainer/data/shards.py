"""WebDataset shards: tar files of images and labels, decoded once into a file of tiles.

    train-000.tar   00017.jpg 00017.cls 00018.jpg 00018.cls ...

What lies before the first dot of a name is the sample, what follows it the part: an image (jpg,
jpeg, png, webp, bmp) and its label, `cls` or `txt` with the name of an emotion or its number in the
order of EMOTIONS, or `json` with such a `label`. Samples are read in the order of the files.

`shards:PLACE` names files by braces (`train-{000..099}.tar`), by `*`, or a folder of them, here or
at an address of `pyarrow.fs` (`s3://BUCKET/train-{000..099}.tar`). `{split}` in it stands for train
or test; without it both splits are all samples. Tiles are in a cache folder, and are made anew when
a shard has another size or time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from models.atomic_files import writing
from models.crops import CROP_PX, resize_to_crop
from models.emotions import EMOTIONS, FOLDER_NAMES
from trainer.data.faceset import FaceSet
from trainer.data.folders import find_classes
from trainer.data.images import SUFFIXES, decode_image
from trainer.data.tile_file import TileFile
from trainer.errors import DataError
from trainer.storage import import_filesystems, is_address, translate_errors

LABEL_PARTS = ("cls", "txt", "json")
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
MOST_SHARDS = 100_000
CACHE = "UNDERCAM_CACHE"
"""The cache folder; by default `undercam` in XDG_CACHE_HOME or in ~/.cache."""
FORMAT = "1"
"""Of the cache: another one is made anew."""


@dataclass(frozen=True)
class Shard:
    """A tar file: its name for messages, what tells it from another version of itself, and how it
    is opened."""

    name: str
    version: str
    open: Callable[[], BinaryIO]


def read_shards(place: str, split: str) -> FaceSet:
    """All faces of one split ("train" or "test"), their tiles in a file.

    Raises DataError for shards that are missing or damaged, a sample without image or label, and a
    label that is no emotion: which one, in which shard.
    """
    shards = list_shards(place.replace("{split}", split))
    digest = hashlib.sha256(FORMAT.encode())
    for shard in shards:
        digest.update(f"{shard.name} {shard.version}\n".encode())
    tiles_file = cache_folder() / f"shards-{digest.hexdigest()[:20]}.tiles"
    labels_file = tiles_file.with_suffix(".json")
    if not (tiles_file.is_file() and labels_file.is_file()):
        _decode(shards, tiles_file, labels_file)
    names = json.loads(labels_file.read_text(encoding="utf-8"))
    classes = find_classes(set(names))
    labels = np.array([classes.index(name) for name in names], np.int64)
    shape = (len(names), CROP_PX, CROP_PX, 3)
    tiles = TileFile(np.memmap(tiles_file, np.uint8, "r", shape=shape))
    name = f"shards:{place.rpartition('/')[2]}"
    return FaceSet.of_labels(name, classes, cast(NDArray[np.uint8], tiles), labels)


def cache_folder() -> Path:
    """Where decoded tiles are kept."""
    if own := os.environ.get(CACHE):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "undercam"


def list_shards(place: str) -> list[Shard]:
    """The shards that a place names, in order; raises DataError where there are none."""
    names = expand_braces(place)
    opened = _list_remote(names) if is_address(place) else _list_local(names)
    if not opened:
        raise DataError("no shards", place, "give tar files, as in train-{000..099}.tar")
    return opened


def expand_braces(place: str) -> list[str]:
    """All names that numbers in braces stand for.

    >>> expand_braces("a-{08..10}.tar")
    ['a-08.tar', 'a-09.tar', 'a-10.tar']
    """
    found = RANGE.search(place)
    if not found:
        return [place]
    first, last = found.groups()
    if not 0 <= int(last) - int(first) < MOST_SHARDS:
        raise DataError(f"no range {found.group()}", place, "give {FIRST..LAST}, the smaller first")
    numbers = range(int(first), int(last) + 1)
    heads = (f"{place[: found.start()]}{number:0{len(first)}d}" for number in numbers)
    return [name for head in heads for name in expand_braces(f"{head}{place[found.end() :]}")]


def _list_local(names: list[str]) -> list[Shard]:
    files: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            files += sorted(path.glob("*.tar"))
        elif "*" in path.name:
            files += sorted(path.parent.glob(path.name))
        elif path.is_file():
            files.append(path)
        else:
            raise DataError("no such shard", name, "check the path")
    statuses = [(path, path.stat()) for path in files]
    return [
        Shard(str(path), f"{status.st_size} {status.st_mtime_ns}", partial(_open_file, path))
        for path, status in statuses
    ]


def _open_file(path: Path) -> BinaryIO:
    return path.open("rb")


def _list_remote(names: list[str]) -> list[Shard]:
    fs = import_filesystems(names[0])
    shards: list[Shard] = []
    with translate_errors(names[0]):
        for name in names:
            folder, _, last = name.rpartition("/")
            system, root = fs.FileSystem.from_uri(folder if "*" in last else name)
            wanted = fs.FileSelector(root) if "*" in last else [root]
            for entry in sorted(system.get_file_info(wanted), key=lambda each: each.path):
                if entry.type == fs.FileType.NotFound:
                    raise DataError("no such shard", name, "check the address")
                if "*" in last and not fnmatch(entry.base_name, last):
                    continue
                version = f"{entry.size} {entry.mtime_ns}"
                shards.append(
                    Shard(entry.path, version, partial(system.open_input_stream, entry.path))
                )
    return shards


def _decode(shards: list[Shard], tiles_file: Path, labels_file: Path) -> None:
    """Write the tiles of all samples, and their labels, into the cache."""
    names: list[str] = []
    with writing(tiles_file) as unfinished, unfinished.open("wb") as file:
        for shard in shards:
            for key, parts in read_samples(shard):
                where = f"{key} in {shard.name}"
                image = next(part for part in parts if f".{part}" in SUFFIXES)
                file.write(resize_to_crop(decode_image(parts[image], where)).tobytes())
                names.append(_read_label(parts, where))
        if not names:
            raise DataError("no samples", shards[0].name, "give shards of images and labels")
    with writing(labels_file) as unfinished:
        unfinished.write_text(json.dumps(names), encoding="utf-8")


def read_samples(shard: Shard) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Each sample of a shard: its key, and the content of its parts by their extension, in lower
    case. Raises DataError for a damaged shard and for a sample that lacks image or label."""
    key = ""
    parts: dict[str, bytes] = {}
    try:
        with shard.open() as file, tarfile.open(fileobj=file, mode="r|*") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                folder, slash, name = member.name.rpartition("/")
                stem, _, extension = name.partition(".")
                if folder + slash + stem != key:
                    if parts:
                        yield key, _check_parts(parts, key, shard)
                    key, parts = folder + slash + stem, {}
                content = tar.extractfile(member)
                parts[extension.lower()] = content.read() if content else b""
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"damaged shard ({error})", shard.name, "fetch it again") from error
    if parts:
        yield key, _check_parts(parts, key, shard)


def _check_parts(parts: dict[str, bytes], key: str, shard: Shard) -> dict[str, bytes]:
    where = f"{key} in {shard.name}"
    found = ", ".join(sorted(parts))
    if not any(f".{part}" in SUFFIXES for part in parts):
        raise DataError(f"a sample without an image, of {found}", where, "give KEY.jpg or KEY.png")
    if not any(part in LABEL_PARTS for part in parts):
        raise DataError(f"a sample without a label, of {found}", where, "give KEY.cls")
    return parts


def _read_label(parts: dict[str, bytes], where: str) -> str:
    part = next(name for name in LABEL_PARTS if name in parts)
    try:
        text = parts[part].decode("utf-8").strip()
        value: Any = json.loads(text)["label"] if part == "json" else text
        value = str(value).lower()
        return EMOTIONS[int(value)] if value.isdigit() else FOLDER_NAMES[value]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        remedy = f"give one of {', '.join(EMOTIONS)}, or its number from 0"
        raise DataError(f"label {parts[part][:40]!r}", where, remedy) from error
