"""Image folders in every layout, made small: each picture with its label, or a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from models.emotions import (
    AFFECTNET_LABELS,
    BASIC_SEVEN,
    COMPOUND_EMOTIONS,
    EMOTIONS,
    KDEF_CODES,
    RAFDB_LABELS,
)
from trainer.data.faceset import FaceSet
from trainer.data.readers import open_faces
from trainer.errors import DataError


def draw(path: Path, level: int, height: int = 20, width: int = 20) -> None:
    """A picture of one even colour, red strongest: (level, level / 2, 0)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bgr = np.zeros((height, width, 3), np.uint8)
    bgr[..., 2], bgr[..., 1] = level, level // 2
    assert cv2.imwrite(str(path), bgr, [cv2.IMWRITE_JPEG_QUALITY, 100])


def found(faces: FaceSet) -> list[tuple[int, str]]:
    """Each face's red level, to the nearest 10, and its label."""
    levels = [round(float(level), -1) for level in faces.tiles[..., 0].mean(axis=(1, 2))]
    return sorted(
        (int(level), faces.classes[label])
        for level, label in zip(levels, faces.labels, strict=True)
    )


def test_plain_class_folders(tmp_path: Path) -> None:
    for level, name in ((10, "Happy"), (20, "anger"), (30, "SURPRISED")):
        draw(tmp_path / name / "deep" / "a.png", level)
    draw(tmp_path / "anger" / "b.JPG", 40)
    (tmp_path / "anger" / "notes.txt").write_text("not a face", encoding="utf-8")
    for split in ("train", "test"):  # no split in the layout: all of it
        faces = open_faces(f"folder:plain:{tmp_path}", split=split)
        wanted = [(10, "happiness"), (20, "anger"), (30, "surprise"), (40, "anger")]
        assert found(faces) == wanted
    assert faces.classes == BASIC_SEVEN
    assert faces.name == f"folder:plain:{tmp_path.name}"


def test_plain_with_splits(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "fear" / "a.png", 10)
    with pytest.raises(DataError, match=r"no test images: .*: plain has a folder for each class"):
        open_faces(f"folder:plain:{tmp_path}", split="test")
    draw(tmp_path / "test" / "contempt" / "a.png", 20)
    assert found(open_faces(f"folder:plain:{tmp_path}", split="train")) == [(10, "fear")]
    test = open_faces(f"folder:plain:{tmp_path}", split="test")
    assert found(test) == [(20, "contempt")]
    assert test.classes == EMOTIONS


def test_pictures_are_red_green_blue_and_whole(tmp_path: Path) -> None:
    draw(tmp_path / "sad" / "small.png", 200, 30, 30)
    draw(tmp_path / "sad" / "large.png", 100, 300, 200)
    striped = np.zeros((224, 224, 3), np.uint8)
    striped[:, :112] = 255
    cv2.imwrite(str(tmp_path / "sad" / "striped.png"), striped)
    faces = open_faces(f"folder:plain:{tmp_path}")
    large, small, stripes = faces.tiles  # in the order of their names
    assert faces.tiles.shape == (3, 112, 112, 3)
    assert (small == [200, 100, 0]).all()
    assert (large == [100, 50, 0]).all()
    assert (stripes[:, :56] == 255).all()
    assert (stripes[:, 56:] == 0).all()


def test_faces_keep_their_ids(tmp_path: Path) -> None:
    for level in (30, 10, 20):
        draw(tmp_path / "fear" / f"{level}.png", level)
    faces = open_faces(f"folder:plain:{tmp_path}")
    assert faces.ids.tolist() == [0, 1, 2]
    assert faces.tiles[:, 0, 0, 0].tolist() == [10, 20, 30]


def test_rafdb(tmp_path: Path) -> None:
    lines = []
    for number in range(1, 8):
        split = "train" if number % 2 else "test"
        lines.append(f"{split}_{number:05d}.jpg {number}")
        draw(tmp_path / f"Image/aligned/{split}_{number:05d}_aligned.jpg", number * 10)
    listing = tmp_path / "EmoLabel" / "list_patition_label.txt"
    listing.parent.mkdir()
    listing.write_text("\n".join([*lines, "", ""]), encoding="utf-8")
    both = [found(open_faces(f"folder:rafdb:{tmp_path}", split=s)) for s in ("train", "test")]
    assert both[0] == [(n * 10, RAFDB_LABELS[n - 1]) for n in (1, 3, 5, 7)]
    assert both[1] == [(n * 10, RAFDB_LABELS[n - 1]) for n in (2, 4, 6)]
    for line in ("train_1.jpg 0", "train_1.jpg 8", "train_1.jpg", "train_1.jpg 1 2", "\xff x"):
        listing.write_text(f"{lines[0]}\n{line}", encoding="latin-1")
        with pytest.raises(DataError, match=r"line .*: .*label\.txt: give NAME\.jpg 1\.\.7"):
            open_faces(f"folder:rafdb:{tmp_path}")
    listing.write_text("test_9.jpg 1", encoding="utf-8")
    with pytest.raises(DataError, match=r"unreadable image: .*test_9_aligned\.jpg"):
        open_faces(f"folder:rafdb:{tmp_path}")
    listing.unlink()
    with pytest.raises(DataError, match="no test images: .*: rafdb has EmoLabel/list_patition_lab"):
        open_faces(f"folder:rafdb:{tmp_path}")


@pytest.fixture(scope="module")
def kdef(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70 subjects, one session, all seven expressions straight and one from the side."""
    root = tmp_path_factory.mktemp("KDEF")
    for sex in "FM":
        for number in range(1, 36):
            for place, code in enumerate(KDEF_CODES):
                name = f"A{sex}{number:02d}{code}S.JPG"
                draw(root / f"A{sex}{number:02d}" / name, 20 * place + 10, 4, 4)
            draw(root / f"A{sex}{number:02d}" / f"A{sex}{number:02d}HAHL.JPG", 200, 4, 4)
    draw(root / "AF01" / "thumbnail.JPG", 0, 4, 4)
    return root


def test_kdef_labels_stand_in_the_names(kdef: Path) -> None:
    faces = open_faces(f"folder:kdef:{kdef}", split="test")
    levels = [(20 * place + 10, label) for place, label in enumerate(KDEF_CODES.values())]
    assert sorted(set(found(faces))) == sorted([*levels, (200, "happiness")])
    assert len(faces) == 14 * 8


def test_kdef_nobody_is_on_both_sides(kdef: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: dict[str, list[str]] = {}
    for split in ("train", "test"):
        names: list[str] = []

        def note(path: Path, names: list[str] = names) -> Any:
            names.append(path.stem)
            return np.zeros((112, 112, 3), np.uint8)

        monkeypatch.setattr("trainer.data.folders.read_image", note)
        open_faces(f"folder:kdef:{kdef}", split=split)
        read[split] = names
    subjects = {split: {name[1:4] for name in names} for split, names in read.items()}
    assert not subjects["train"] & subjects["test"]
    assert subjects["test"] == {f"{sex}{number}" for sex in "FM" for number in range(29, 36)}
    assert len(subjects["train"]) == 56
    assert len(read["train"]) + len(read["test"]) == 70 * 8


def test_kdef_in_small_letters(tmp_path: Path) -> None:
    draw(tmp_path / "bm09sus.jpg", 50)
    assert found(open_faces(f"folder:kdef:{tmp_path}", split="test")) == [(50, "surprise")]


@pytest.mark.parametrize("kind", [int, str], ids=["number", "text"])
def test_affectnet(tmp_path: Path, kind: type) -> None:
    folder = tmp_path / "val_set"
    (folder / "annotations").mkdir(parents=True)
    for label in (*range(11), -1):  # 8, 9, 10 are none, uncertain and no face
        draw(folder / "images" / f"{label + 1}.jpg", label * 10 + 10)
        np.save(folder / "annotations" / f"{label + 1}_exp.npy", np.array(kind(label)))
    draw(folder / "images" / "unlabelled.jpg", 240)
    faces = open_faces(f"folder:affectnet:{tmp_path}")
    assert faces.classes == EMOTIONS
    assert found(faces) == [(n * 10 + 10, AFFECTNET_LABELS[n]) for n in range(8)]
    with pytest.raises(DataError, match="no train images"):
        open_faces(f"folder:affectnet:{tmp_path}", split="train")


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"text"], ids=["empty", "cut", "text"])
def test_affectnet_with_a_damaged_label(tmp_path: Path, content: bytes) -> None:
    draw(tmp_path / "val_set" / "images" / "1.jpg", 10)
    note = tmp_path / "val_set" / "annotations" / "1_exp.npy"
    note.parent.mkdir()
    note.write_bytes(content)
    with pytest.raises(DataError, match=r"unreadable label: .*1_exp\.npy: remove or replace it"):
        open_faces(f"folder:affectnet:{tmp_path}")


def test_sfew(tmp_path: Path) -> None:
    draw(tmp_path / "Train" / "Angry" / "a.png", 10)
    draw(tmp_path / "Val" / "Neutral" / "a.png", 20)
    assert found(open_faces(f"folder:sfew:{tmp_path}", split="train")) == [(10, "anger")]
    assert found(open_faces(f"folder:sfew:{tmp_path}", split="test")) == [(20, "neutral")]


@pytest.mark.parametrize("layout", ["plain", "kdef", "affectnet", "sfew", "ckplus", "ck48"])
def test_an_empty_folder(tmp_path: Path, layout: str) -> None:
    with pytest.raises(DataError, match=f"no test images: .*: {layout} has .*; here is nothing$"):
        open_faces(f"folder:{layout}:{tmp_path}")


def test_folders_that_are_not_understood(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such layout: folder:imagenet: give one of plain, raf"):
        open_faces(f"folder:imagenet:{tmp_path}")
    draw(tmp_path / "grumpy" / "a.png", 10)
    with pytest.raises(DataError, match="unknown class folder: .*grumpy: name it neutral"):
        open_faces(f"folder:plain:{tmp_path}")


def test_a_damaged_picture(tmp_path: Path) -> None:
    (tmp_path / "fear").mkdir()
    (tmp_path / "fear" / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"unreadable image: .*a\.png: remove or replace it"):
        open_faces(f"folder:plain:{tmp_path}")


def draw_rafdb(root: Path, labels: int, splits: tuple[str, ...] = ("train", "test")) -> None:
    """One image of each label in each split, as RAF-DB has them."""
    lines = []
    for split in splits:
        for label in range(1, labels + 1):
            lines.append(f"{split}_{label:04d}.jpg {label}")
            draw(root / f"Image/aligned/{split}_{label:04d}_aligned.jpg", label * 10)
    listing = root / "EmoLabel" / "list_patition_label.txt"
    listing.parent.mkdir()
    listing.write_text("\n".join(lines), encoding="utf-8")


def test_rafdb_compound(tmp_path: Path) -> None:
    draw_rafdb(tmp_path, 11)
    for split in ("train", "test"):
        faces = open_faces(f"folder:rafdb-compound:{tmp_path}", split=split)
        assert faces.classes == tuple(COMPOUND_EMOTIONS)
        assert found(faces) == [
            (10 * number, label) for number, label in enumerate(COMPOUND_EMOTIONS, start=1)
        ]
    with pytest.raises(DataError, match=r"line 'train_0008.jpg 8': .*: give NAME\.jpg 1\.\.7"):
        open_faces(f"folder:rafdb:{tmp_path}")


def test_affectnet_without_contempt(tmp_path: Path) -> None:
    folder = tmp_path / "train_set"
    (folder / "annotations").mkdir(parents=True)
    for label in range(9):
        draw(folder / "images" / f"{label}.jpg", label * 10 + 10)
        np.save(folder / "annotations" / f"{label}_exp.npy", np.array(label))
    seven = open_faces(f"folder:affectnet-7:{tmp_path}", split="train")
    assert seven.classes == BASIC_SEVEN
    assert found(seven) == [(n * 10 + 10, AFFECTNET_LABELS[n]) for n in range(7)]
    assert len(open_faces(f"folder:affectnet:{tmp_path}", split="train")) == 8


def test_folders_of_compound_classes(tmp_path: Path) -> None:
    """As `undercam udc` writes them; beside basic ones, these are first."""
    draw(tmp_path / "Happily Surprised" / "a.png", 10)
    draw(tmp_path / "sadly angry" / "a.png", 20)
    compound = open_faces(f"folder:plain:{tmp_path}")
    assert compound.classes == tuple(COMPOUND_EMOTIONS)
    assert found(compound) == [(10, "happily surprised"), (20, "sadly angry")]
    draw(tmp_path / "fear" / "a.png", 30)
    assert open_faces(f"folder:plain:{tmp_path}").classes == (*BASIC_SEVEN, *COMPOUND_EMOTIONS)


def draw_ckplus(root: Path, labels: dict[str, str], frames: int = 5) -> None:
    """Sequences of subjects as CK+ has them; what is in a label file, or "" for no such file."""
    for number, (subject, label) in enumerate(labels.items()):
        for frame in range(1, frames + 1):
            name = f"{subject}_001_{frame:08d}.png"
            draw(root / f"cohn-kanade-images/{subject}/001/{name}", 10 * number + 10, 4, 4)
        folder = root / "Emotion" / subject / "001"
        folder.mkdir(parents=True)
        if label:
            (folder / f"{subject}_001_{frames:08d}_emotion.txt").write_text(label, encoding="ascii")


def test_ckplus_shows_its_label_at_the_end_and_is_neutral_at_the_start(tmp_path: Path) -> None:
    labels = {f"S{number:03d}": f"   {number % 7 + 1}.0000000e+00\n" for number in range(12)}
    draw_ckplus(tmp_path, labels | {"S999": ""})
    train, test = (open_faces(f"folder:ckplus:{tmp_path}", split=s) for s in ("train", "test"))
    assert test.classes == BASIC_SEVEN  # the tenth subject alone: fear
    assert found(test) == [(100, "disgust")] * 3 + [(100, "neutral")]
    assert train.classes == EMOTIONS
    assert len(train) == 11 * 4
    assert (20, "contempt") in found(train)


@pytest.mark.parametrize("content", ["", "happy", "8.0", "nan"])
def test_ckplus_with_a_damaged_label(tmp_path: Path, content: str) -> None:
    draw_ckplus(tmp_path, {"S005": "1.0"})
    note = next((tmp_path / "Emotion").rglob("*.txt"))
    note.write_text(content, encoding="ascii")
    with pytest.raises(DataError, match=r"label.*: .*S005_001_00000005_emotion\.txt: "):
        open_faces(f"folder:ckplus:{tmp_path}", split="train")


def test_ckplus_without_the_images_of_a_label(tmp_path: Path) -> None:
    draw_ckplus(tmp_path, {"S005": "1.0"})
    (tmp_path / "cohn-kanade-images").rename(tmp_path / "images")
    with pytest.raises(DataError, match="a label without frames: .*: is cohn-kanade-images compl"):
        open_faces(f"folder:ckplus:{tmp_path}", split="train")


def test_ck48_no_subject_is_in_both_splits(tmp_path: Path) -> None:
    for number in range(20):
        for name in ("anger", "contempt"):
            draw(tmp_path / name / f"S{number:03d}_004_00000017.png", 10 * number + 10, 4, 4)
    test = open_faces(f"folder:ck48:{tmp_path}")
    assert found(test) == [(n, name) for n in (100, 200) for name in ("anger", "contempt")]
    assert len(open_faces(f"folder:ck48:{tmp_path}", split="train")) == 36


def test_a_wrong_layout_is_said_and_guessed(tmp_path: Path) -> None:
    draw_rafdb(tmp_path, 7)
    with pytest.raises(DataError) as raised:
        open_faces(f"folder:sfew:{tmp_path}")
    assert str(raised.value) == (
        f"no test images: {tmp_path}: sfew has Train|Val/CLASS/*.png; here are 2 folders "
        "(EmoLabel, Image); it is laid out like rafdb or rafdb-compound"
    )
    with pytest.raises(DataError, match="unknown class folder: .*EmoLabel: name it .* like rafdb"):
        open_faces(f"folder:plain:{tmp_path}")


def test_folders_of_other_names_with_a_map(tmp_path: Path) -> None:
    draw(tmp_path / "Freude" / "a.png", 10)
    draw(tmp_path / "angry" / "b.png", 20)
    draw(tmp_path / "rest" / "c.png", 30)
    labels = tmp_path / "labels.toml"
    labels.write_text('Freude = "happiness"\nrest = ""', encoding="utf-8")
    assert found(open_faces(f"folder:plain:{tmp_path}")) == [(10, "happiness"), (20, "anger")]
    labels.write_text('Freude = "joy"', encoding="utf-8")
    with pytest.raises(DataError, match=r"Freude = 'joy': .*labels\.toml: give one of neutral"):
        open_faces(f"folder:plain:{tmp_path}")
    labels.write_text("Freude", encoding="utf-8")
    with pytest.raises(DataError, match=r"unreadable labels .*labels\.toml: give lines of FOLDER"):
        open_faces(f"folder:plain:{tmp_path}")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_truncated_picture_is_named(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        path = tmp_path / "fear" / f"{name}{suffix}"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    cut = tmp_path / "fear" / f"b{suffix}"
    cut.write_bytes(cut.read_bytes()[:-2000])
    with pytest.raises(DataError, match=rf"unreadable image .*: .*/fear/b\{suffix}: remove or rep"):
        open_faces(f"folder:plain:{tmp_path}")
