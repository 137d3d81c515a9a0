"""Whole data sets under a display: every picture once, read back, and the same each time."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.emotions import KDEF_CODES, RAFDB_LABELS
from models.errors import UndercamError
from models.udc.suites import conditions, degrade
from trainer.data.folders import list_images
from trainer.data.images import read_image
from trainer.data.originals import list_originals
from trainer.data.readers import open_faces
from trainer.errors import DataError
from trainer.udc_sets import write_set

CELLS = conditions("udc")


def draw(path: Path, seed: int, height: int = 24) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (4, 3, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), cv2.resize(small, (20, height), interpolation=cv2.INTER_CUBIC))


def manifest(out: Path) -> list[dict[str, str]]:
    with (out / "manifest.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def bytes_of(out: Path) -> dict[str, bytes]:
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}


@pytest.fixture
def rafdb(tmp_path: Path) -> Path:
    """A made RAF-DB: 14 to train, 7 to test."""
    root = tmp_path / "raf"
    (root / "EmoLabel").mkdir(parents=True)
    lines = []
    for number in range(21):
        stem = f"{'train' if number < 14 else 'test'}_{number:05}"
        lines.append(f"{stem}.jpg {number % 7 + 1}")
        draw(root / "Image" / "aligned" / f"{stem}_aligned.jpg", number)
    (root / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines))
    return root


def test_every_picture_once_with_its_panel(rafdb: Path, tmp_path: Path) -> None:
    out, told = tmp_path / "udc", []
    written = write_set(f"folder:rafdb:{rafdb}", out, CELLS, lambda *count: told.append(count))
    assert written["images"] == 21
    assert written["splits"] == {"train": 14, "test": 7}
    assert told[-1] == (21, 21)
    rows = manifest(out)
    assert len({row["id"] for row in rows}) == len({row["file"] for row in rows}) == 21
    assert {row["panel"] for row in rows} == {"t-oled", "p-oled"}
    assert {row["severity"] for row in rows} == set("12345")
    for row in rows:
        before = read_image(rafdb / row["id"])
        corruption = {"t-oled": "udc_t", "p-oled": "udc_p"}[row["panel"]]
        cell = f"{corruption}/{row['severity']}"
        after = degrade(before[None], [row["id"]], "folder:rafdb", cell)[0]
        assert np.array_equal(read_image(out / row["file"]), after)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_it_is_read_back_with_its_labels(rafdb: Path, tmp_path: Path) -> None:
    out = tmp_path / "udc"
    write_set(f"folder:rafdb:{rafdb}", out, CELLS)
    for split in ("train", "test"):
        before = open_faces(f"folder:rafdb:{rafdb}", split=split)
        after = open_faces(f"folder:plain:{out}", split=split)
        assert after.classes == before.classes
        assert np.array_equal(np.bincount(after.labels), np.bincount(before.labels))
    assert set(RAFDB_LABELS) == {path.name for path in (out / "test").iterdir()}


def test_the_set_is_the_same_on_every_machine(rafdb: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "raf2"
    moved.parent.mkdir()
    write_set(f"folder:rafdb:{rafdb}", tmp_path / "a", CELLS)
    rafdb.rename(moved)
    write_set(f"folder:rafdb:{moved}", tmp_path / "b", CELLS)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


def test_kdef_has_a_split_without_shared_persons_and_a_random_one(tmp_path: Path) -> None:
    root, n = tmp_path / "kdef", 0
    for subject in [f"{sex}{number:02}" for sex in "FM" for number in range(1, 11)]:
        for code in KDEF_CODES:
            draw(root / f"A{subject}" / f"A{subject}{code}S.JPG", n := n + 1)
    out = tmp_path / "udc"
    write_set(f"folder:kdef:{root}", out, CELLS)
    rows = manifest(out)
    subjects = {
        split: {Path(row["id"]).stem[1:4] for row in rows if row["split"] == split}
        for split in ("train", "test")
    }
    assert not subjects["train"] & subjects["test"]
    tested = [row for row in rows if row["random_split"] == "test"]
    assert len(tested) == sum(row["split"] == "test" for row in rows) == 14 * 7
    assert {Path(row["id"]).stem[1:4] for row in tested} & subjects["train"]
    for split in ("train", "test"):  # of the originals a reader takes the same
        wanted = {row["id"] for row in rows if row["random_split"] == split}
        read = list_images("kdef-random", root, split)
        assert {path.relative_to(root).as_posix() for path, _ in read} == wanted


def test_grey_tiles_are_those_of_the_condition(tmp_path: Path) -> None:
    """A set of tiles written as pictures is what `evaluate` shows, bit for bit."""
    path = tmp_path / "faces.npz"
    tiles = np.random.default_rng(0).integers(0, 256, (6, 48, 48), dtype=np.uint8)
    np.savez(path, image=tiles, label=np.arange(6))
    faces = open_faces(f"npz:{path}")
    write_set(f"npz:{path}", tmp_path / "udc", ["udc_p/4"])
    seen = degrade(faces.tiles, faces.ids, faces.name, "udc_p/4")
    for row in manifest(tmp_path / "udc"):
        picture = cv2.imread(str(tmp_path / "udc" / row["file"]), cv2.IMREAD_UNCHANGED)
        assert picture is not None
        assert np.array_equal(picture, seen[int(row["id"])])
        assert row["split"] == ""


def test_names_that_are_taken(tmp_path: Path) -> None:
    for seed, place in enumerate(("a/x.png", "b/x.png", "a/y.png")):
        draw(tmp_path / "set" / "happy" / place, seed)
    write_set(f"folder:plain:{tmp_path / 'set'}", tmp_path / "udc", CELLS)
    files = {row["file"] for row in manifest(tmp_path / "udc")}
    assert len(files) == 3
    assert "happiness/y.png" in files


def test_all_of_it_or_nothing(rafdb: Path, tmp_path: Path) -> None:
    (rafdb / "Image" / "aligned" / "test_00020_aligned.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match="unreadable image"):
        write_set(f"folder:rafdb:{rafdb}", tmp_path / "udc", CELLS)
    assert [path.name for path in tmp_path.iterdir()] == ["raf"]


def test_sets_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        list_originals(f"folder:rafdb:{tmp_path / 'nowhere'}")
    with pytest.raises(DataError, match="no images"):
        list_originals(f"folder:kdef:{tmp_path}")
    draw(tmp_path / "set" / "happy" / "a.png", 1)
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(UndercamError, match="cannot write"):
        write_set(f"folder:plain:{tmp_path / 'set'}", blocked / "udc", CELLS)


@pytest.mark.slow
@pytest.mark.needs("data")
def test_ferplus_whole() -> None:
    found = list_originals("ferplus:all")
    splits = [one.split for one in found]
    assert (splits.count("train"), splits.count("test")) == (25_060, 3_199)
    assert len({(one.noise, one.id) for one in found}) == len(found)
