"""WebDataset shards: made as tar files with the standard library, read back face by face."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from models.crops import GEOMETRY
from models.emotions import BASIC_SEVEN, EMOTIONS
from models.weights import ModelCard
from trainer.batches import AugmentedBatches
from trainer.data.faceset import FaceSet
from trainer.data.readers import open_faces
from trainer.data.tile_file import TileFile
from trainer.errors import DataError
from trainer.recipes import RandomPanel, Recipe, Stage

Part = tuple[str, bytes]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("UNDERCAM_CACHE", str(folder))
    return folder


def image_of(level: int, suffix: str = ".png") -> bytes:
    """An image of one even grey."""
    encoded, content = cv2.imencode(suffix, np.full((20, 20, 3), level, np.uint8))
    assert encoded
    return content.tobytes()


def write_shard(path: Path, parts: list[Part]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in parts:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def sample(key: str, level: int, label: bytes, part: str = "cls") -> list[Part]:
    return [(f"{key}.png", image_of(level)), (f"{key}.{part}", label)]


def found(faces: FaceSet) -> list[tuple[int, str]]:
    levels = faces.tiles[:][:, 0, 0, 0].tolist()
    return [(level, faces.classes[n]) for level, n in zip(levels, faces.labels, strict=True)]


def test_labels_are_names_numbers_or_json(tmp_path: Path) -> None:
    parts = sample("a/0", 10, b"happy\n") + sample("a/1", 20, b"4")
    parts += sample("b/1", 30, b"Fear", "txt")
    parts += sample("d", 40, b'{"label": "sad", "age": 3}', "json")
    write_shard(tmp_path / "s-0.tar", [*parts, ("d.age.txt", b"not a label")])
    faces = open_faces(f"shards:{tmp_path}/s-0.tar")
    assert found(faces) == [(10, "happiness"), (20, "anger"), (30, "fear"), (40, "sadness")]
    assert faces.classes == BASIC_SEVEN
    assert faces.ids.tolist() == [0, 1, 2, 3]
    assert faces.name == "shards:s-0.tar"
    assert isinstance(faces.tiles, TileFile)
    assert faces.tiles.shape == (4, 112, 112, 3)


@pytest.mark.parametrize("place", ["t-{00..02}.tar", "t-*.tar", ""])
def test_shards_are_named_by_braces_a_star_or_their_folder(tmp_path: Path, place: str) -> None:
    for number in range(3):
        write_shard(tmp_path / "set" / f"t-{number:02d}.tar", sample("x", 10 * number, b"7"))
    for root in (f"{tmp_path}/set", f"file://{tmp_path}/set"):
        if place or "://" not in root:
            faces = open_faces(f"shards:{root}/{place}")
            assert found(faces) == [(0, "contempt"), (10, "contempt"), (20, "contempt")]
            assert faces.classes == EMOTIONS


def test_splits_have_shards_of_their_own(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "test")):
        write_shard(tmp_path / f"{split}-0.tar", sample("x", number, b"0"))
        faces = open_faces(f"shards:{tmp_path}/{{split}}-{{0..0}}.tar", split=split)
        assert found(faces) == [(number, "neutral")]


def test_tiles_are_decoded_once_until_a_shard_changes(tmp_path: Path, cache: Path) -> None:
    shard = tmp_path / "s.tar"
    write_shard(shard, sample("x", 10, b"0"))
    address = f"shards:{shard}"
    assert found(open_faces(address)) == [(10, "neutral")]
    kept = {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(kept) == 2
    assert found(open_faces(address)) == [(10, "neutral")]
    assert {path.name: path.stat().st_mtime_ns for path in cache.iterdir()} == kept
    write_shard(shard, sample("x", 20, b"1"))
    os.utime(shard, ns=(1, 1))
    assert found(open_faces(address)) == [(20, "happiness")]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (sample("x", 1, b"grumpy"), r"label b'grumpy': x in .*s\.tar: give one of neutral"),
        (sample("x", 1, b"8"), "label b'8': x in "),
        (sample("x", 1, b'{"class": 3}', "json"), "label b'{\"class\": 3}'"),
        (
            [("x.png", image_of(1))],
            r"a sample without a label, of png: x in .*s\.tar: give KEY\.cls",
        ),
        ([("x.cls", b"0")], "a sample without an image, of cls: x in "),
        ([("x.png", image_of(1)[:60]), ("x.cls", b"0")], r"unreadable image .*: x in .*s\.tar"),
        ([], "no samples: .*: give shards of images and labels"),
    ],
)
def test_what_is_wrong_is_said_of_which_sample(
    tmp_path: Path, cache: Path, parts: list[Part], message: str
) -> None:
    write_shard(tmp_path / "s.tar", parts)
    with pytest.raises(DataError, match=message):
        open_faces(f"shards:{tmp_path}/s.tar")
    assert not list(cache.glob("*"))


def test_shards_that_are_not_whole_or_not_there(tmp_path: Path) -> None:
    write_shard(tmp_path / "s.tar", sample("x", 1, b"0"))
    content = (tmp_path / "s.tar").read_bytes()
    (tmp_path / "s.tar").write_bytes(content[:700])
    with pytest.raises(DataError, match=r"damaged shard .*: .*s\.tar: fetch it again"):
        open_faces(f"shards:{tmp_path}/s.tar")
    for place in (f"{tmp_path}/t.tar", f"file://{tmp_path}/t.tar"):
        with pytest.raises(DataError, match="no such shard: .*t.tar: check"):
            open_faces(f"shards:{place}")
    with pytest.raises(DataError, match="no shards: .*: give tar files"):
        open_faces(f"shards:{tmp_path}/u-*.tar")
    with pytest.raises(DataError, match=r"no range \{9\.\.1\}"):
        open_faces(f"shards:{tmp_path}/s-{{9..1}}.tar")


@pytest.mark.parametrize("panel", [None, RandomPanel()])
def test_batches_are_those_of_tiles_in_memory(tmp_path: Path, panel: RandomPanel | None) -> None:
    rng = np.random.default_rng(0)
    parts: list[Part] = []
    for key in range(12):
        _, content = cv2.imencode(".png", rng.integers(0, 256, (112, 112, 3), dtype=np.uint8))
        parts += [(f"{key}.png", content.tobytes()), (f"{key}.cls", str(key % 8).encode())]
    write_shard(tmp_path / "s.tar", parts)
    on_disk = open_faces(f"shards:{tmp_path}/s.tar")
    in_memory = FaceSet.of_labels(
        on_disk.name, on_disk.classes, np.array(on_disk.tiles), on_disk.labels
    )
    assert on_disk.fingerprint() == in_memory.fingerprint()
    assert on_disk.hashes() == in_memory.hashes()
    recipe = Recipe("resnet18", {"width": 8}, (Stage("fit", 1),), panel=panel)
    card = ModelCard(
        *("tiny", "resnet18", recipe.network, EMOTIONS, 48, 1, (0.5,), (0.25,), GEOMETRY, "", "")
    )
    rows = torch.tensor([7, 3, 3, 11])
    chosen = rng.permutation(12)
    batches = [
        AugmentedBatches(faces[chosen], card, recipe)(rows, 48, torch.Generator().manual_seed(1))
        for faces in (on_disk, in_memory)
    ]
    torch.testing.assert_close(batches[0].x, batches[1].x, rtol=0, atol=1e-5)
    assert torch.equal(batches[0].targets, batches[1].targets)
