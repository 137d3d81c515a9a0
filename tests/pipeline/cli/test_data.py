"""`undercam data`: a small set with one of every fault; faces cut out of a real photograph."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from skimage import data as pictures

from pipeline.cli.app import run
from trainer.data.readers import open_faces


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """Two splits of class folders: an image in both, one under two labels, a damaged one."""
    root, rng = tmp_path / "set", np.random.default_rng(0)
    for split, name, count in (("train", "happy", 6), ("train", "fear", 2), ("test", "happy", 2)):
        for number in range(count):
            path = root / split / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            size = (30 + number, 40, 3)
            cv2.imwrite(str(path), rng.integers(0, 256, size, dtype=np.uint8))
    shutil.copy(root / "train/happy/0.png", root / "test/happy/copy.png")
    shutil.copy(root / "train/happy/1.png", root / "train/fear/copy.png")
    cut = root / "train/happy/5.png"
    cut.write_bytes(cut.read_bytes()[:200])
    return root


def check(capfd: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run(["data", "check", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capfd.readouterr().out)
    return found


def test_every_fault_is_found_and_named(faulty: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = check(capfd, f"folder:plain:{faulty}", "--detect", "2")
    assert found["images"] == 12
    assert found["splits"] == {
        "train": {"images": 9, "classes": {"happiness": 6, "fear": 3}},
        "test": {"images": 3, "classes": {"happiness": 3}},
    }
    assert found["sizes"] == {"smallest": [40, 30], "median": [40, 31], "largest": [40, 34]}
    assert found["unreadable"]["count"] == 1
    assert found["unreadable"]["examples"][0]["image"] == "train happiness train/happy/5.png"
    duplicates = found["duplicates"]
    assert duplicates["images"] == 2
    assert duplicates["across_splits"]["examples"] == [
        ["train happiness train/happy/0.png", "test happiness test/happy/copy.png"]
    ]
    assert duplicates["with_other_labels"]["examples"] == [
        ["train fear train/fear/copy.png", "train happiness train/happy/1.png"]
    ]
    assert found["faces"]["images"] == 3  # of two in each split, one cannot be read
    assert found["faces"]["without_face"]["count"] == 3  # they are noise
    advice = " ".join(found["advice"])
    for words in ("cannot be read", "also in the training", "one label", "of happiness, fear"):
        assert words in advice


def test_a_person_reads_the_same(faulty: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "check", f"folder:plain:{faulty}", "--detect", "0"]) == 0
    out = capfd.readouterr().out
    for words in (
        "happiness",
        "in two splits: 1",
        "unreadable: 1",
        "5.png: unreadable image",
        "advice: ",
    ):
        assert words in out
    assert "looked for a face" not in out


def test_a_set_without_splits_and_without_faults(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (100, 48, 48), np.uint8)
    np.savez(tmp_path / "f.npz", image=tiles, label=np.arange(100) % 2)
    found = check(capfd, f"npz:{tmp_path / 'f.npz'}", "--detect", "0")
    assert found["splits"] == {"all": {"images": 100, "classes": {"neutral": 50, "happiness": 50}}}
    assert (found["duplicates"]["images"], found["advice"]) == (0, [])


def test_a_wrong_layout_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "Image").mkdir()
    assert run(["data", "check", f"folder:rafdb:{tmp_path}"]) == 3
    assert "rafdb has EmoLabel/list_patition_label.txt" in capfd.readouterr().err


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A woman's portrait, and a picture of nobody."""
    root = tmp_path / "photos"
    for name, image in (
        ("happy/one.png", pictures.astronaut()),
        ("sad/none.png", pictures.coins()),
    ):
        (root / name).parent.mkdir(parents=True)
        bgr = image[..., ::-1] if image.ndim == 3 else image
        cv2.imwrite(str(root / name), bgr)
    return root


def test_faces_are_cut_out_of_photographs(
    photographs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    address = f"folder:plain:{photographs}"
    found = check(capfd, address)
    assert found["faces"]["without_face"]["examples"] == ["sadness sad/none.png"]
    assert found["faces"]["height_share"] < 0.5
    assert any("undercam data crop" in sentence for sentence in found["advice"])
    out = tmp_path / "faces"
    assert run(["data", "crop", address, str(out), "--json"]) == 0
    result = json.loads(capfd.readouterr().out)
    assert (result["images"], result["without_face"]["examples"]) == (1, ["sad/none.png"])
    faces = open_faces(f"folder:plain:{out}")
    assert [faces.classes[label] for label in faces.labels] == ["happiness"]
    # Her face is in the upper middle of the picture: skin, not the flag behind her.
    whole = pictures.astronaut()[50:190, 160:300].mean(axis=(0, 1))
    assert np.abs(faces.tiles[0].mean(axis=(0, 1)) - whole).max() < 25
    assert check(capfd, f"folder:plain:{out}")["faces"]["height_share"] > 0.7
    assert run(["data", "crop", address, str(out)]) == 2
    assert "exists already" in capfd.readouterr().err


def test_photographs_of_nobody(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in" / "fear").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "in" / "fear" / "a.png"), pictures.coins())
    assert run(["data", "crop", f"folder:plain:{tmp_path / 'in'}", str(tmp_path / "out")]) == 3
    assert "no face in any image" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
