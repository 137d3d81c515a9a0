"""`undercam udc`: pictures, clips and data sets, never over what is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from models.udc.panel import apply_panel
from models.udc.suites import REAL_FACE_PX, find_panel, noise_generator
from pipeline.cli.app import run
from pipeline.cli.options import REAL_SEVERITY
from pipeline.media.video import VideoWriter
from pipeline.stages.source.file import VideoSource
from trainer.data.images import read_image, write_image

USAGE, INPUT = 2, 3
PANEL = ("--panel", "p-oled", "--severity", "3")


def udc(capsys: pytest.CaptureFixture[str], *options: object) -> dict[str, Any]:
    assert run(["udc", *map(str, options), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "face.png"
    small = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    write_image(path, cv2.resize(small, (80, 60)).astype(np.uint8))
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 64, 48, 10) as writer:
        for level in range(8):
            writer.write(np.full((48, 64, 3), 100 + level, np.uint8))
    return path


def test_a_picture(capsys: pytest.CaptureFixture[str], picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "seen.png"
    told = udc(capsys, picture, out, *PANEL, "--face-px", 48)
    assert told == {"out": str(out), "frames": 1, "display": "udc_p/3 at 48 px"}
    noise = noise_generator("frame", 0, "udc_p/3")
    expected = apply_panel(read_image(picture)[None], find_panel("udc_p/3"), noise)[0]
    assert np.array_equal(read_image(out), expected)


def test_a_clip_keeps_its_times_and_has_new_noise_in_each_frame(
    capsys: pytest.CaptureFixture[str], clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "seen.mp4"
    assert udc(capsys, clip, out, *PANEL)["frames"] == 8
    with VideoSource(clip, "a", "e0") as before, VideoSource(out, "b", "e0") as after:
        frames = list(zip(before, after, strict=True))
    assert [a.header.pts_s for a, _ in frames] == [b.header.pts_s for _, b in frames]
    noises = [b.image.astype(float) - a.image for a, b in frames]
    assert all(noise.std() > 3 for noise in noises)
    shared = np.corrcoef([noise.ravel() for noise in noises]) - np.eye(8)
    assert np.abs(shared).max() < 0.5
    again = tmp_path / "again.mp4"
    udc(capsys, clip, again, *PANEL)
    assert again.read_bytes() == out.read_bytes()


def test_a_data_set(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (10, 48, 48), dtype=np.uint8)
    np.savez(tmp_path / "f.npz", image=tiles, label=np.arange(10) % 7)
    faces = f"npz:{tmp_path / 'f.npz'}"
    told = udc(capsys, faces, tmp_path / "all")
    assert (told["images"], told["splits"]) == (10, {"": 10})
    told = udc(capsys, faces, tmp_path / "one", "--panel", "t-oled", "--severity", 2)
    assert told["panels"] == {"t-oled/2": 10}
    assert len((tmp_path / "one" / "manifest.csv").read_text().splitlines()) == 11


def test_a_data_set_has_real_panels_only_where_asked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (40, 48, 48), dtype=np.uint8)
    np.savez(tmp_path / "f.npz", image=tiles, label=np.arange(40) % 7)
    faces = f"npz:{tmp_path / 'f.npz'}"
    panels = udc(capsys, faces, tmp_path / "all")["panels"]
    assert {name.partition("/")[0] for name in panels} == {"t-oled", "p-oled"}
    told = udc(capsys, faces, tmp_path / "real", "--panel", "p-oled-real", "--severity", 3)
    assert told["panels"] == {"p-oled-real/3": 40}


def test_the_help_says_what_the_severity_of_a_real_panel_is() -> None:
    widths = ", ".join(map(str, REAL_FACE_PX[:4])) + f" and {REAL_FACE_PX[4]} px"
    assert widths in REAL_SEVERITY


def fails(capsys: pytest.CaptureFixture[str], code: int, words: str, *options: object) -> None:
    assert run(["udc", *map(str, options)]) == code
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert words in printed.err


def test_nothing_is_overwritten(
    capsys: pytest.CaptureFixture[str], picture: Path, tmp_path: Path
) -> None:
    before = picture.read_bytes()
    fails(capsys, USAGE, "the output exists already", picture, picture, *PANEL)
    fails(capsys, USAGE, "the output exists already", f"folder:plain:{tmp_path}", tmp_path)
    assert picture.read_bytes() == before


def test_what_cannot_be(
    capsys: pytest.CaptureFixture[str], picture: Path, clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.png"
    fails(capsys, USAGE, "give --panel and --severity", picture, out, "--panel", "p-oled")
    fails(capsys, USAGE, "no such panel", picture, out, "--panel", "lcd", "--severity", "1")
    fails(capsys, USAGE, "--severity", picture, out, "--panel", "p-oled", "--severity", "6")
    fails(capsys, USAGE, "the input is a clip, not an image", clip, out, *PANEL)
    fails(capsys, USAGE, "unknown kind of video", picture, tmp_path / "out.tiff", *PANEL)
    fails(capsys, INPUT, "no such file", tmp_path / "none.png", out, *PANEL)
    fails(capsys, USAGE, "no such layout", f"folder:lfw:{tmp_path}", tmp_path / "set")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "face.png"]
