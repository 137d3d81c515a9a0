"""What `undercam analyze` and `undercam udc` make of inputs as people have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest

from pipeline.cli.app import run
from pipeline.stages.source.file import VideoSource

pytestmark = pytest.mark.needs("data")
USAGE = 2
HAPPY, NEUTRAL = "happiness", "neutral"


def analyze(capsys: pytest.CaptureFixture[str], clip: Path, *options: object) -> dict[str, Any]:
    assert run(["analyze", str(clip), "--json", *map(str, options)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return json.loads(printed.out)


def mostly(result: dict[str, Any]) -> tuple[str, float]:
    (track,) = result["tracks"]
    name, share = max(track["mean"].items(), key=lambda item: item[1])
    return name, share


@pytest.mark.parametrize(
    ("name", "frames", "label"),
    [
        ("cover.jpg", 1, NEUTRAL),
        ("exif6.jpg", 1, NEUTRAL),
        ("exif.png", 1, NEUTRAL),
        ("one.mp4", 1, NEUTRAL),
        pytest.param("base.mp4", 72, HAPPY, marks=pytest.mark.slow),
        pytest.param("sar2.mp4", 72, HAPPY, marks=pytest.mark.slow),
        pytest.param("sar2square.mp4", 72, HAPPY, marks=pytest.mark.slow),
        pytest.param("tfdt10h.mp4", 72, HAPPY, marks=pytest.mark.slow),
        pytest.param("audiolonger.mkv", 72, HAPPY, marks=pytest.mark.slow),
        pytest.param("h264b.avi", 72, HAPPY, marks=pytest.mark.slow),
        pytest.param("disc_back.ts", 60, HAPPY, marks=pytest.mark.slow),
        pytest.param("reschange.ts", 60, HAPPY, marks=pytest.mark.slow),
    ],
)
def test_the_cases(
    capsys: pytest.CaptureFixture[str], data: Path, name: str, frames: int, label: str
) -> None:
    result = analyze(capsys, data / "cases" / name)
    assert (result["frames"], result["analysed"], result["damage"]) == (frames, frames, "")
    assert mostly(result)[0] == label
    assert result["tracks"][0]["end_s"] < 2.5
    if name.startswith("sar2"):
        assert mostly(result)[1] == pytest.approx(0.785, abs=0.02)


def test_a_picture_is_annotated_as_a_picture(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path
) -> None:
    before = cv2.imread(str(data / "cases" / "cover.jpg"))
    for ending in ("png", "jpg"):
        out = tmp_path / f"x.{ending}"
        analyze(capsys, data / "cases" / "cover.jpg", "--annotate", out)
        after = cv2.imread(str(out))
        assert after.shape == before.shape
        assert abs(after.astype(int) - before).mean() > 2


def test_a_jpeg_that_is_cut_is_read_with_a_warning(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path
) -> None:
    clip = tmp_path / "cut.jpg"
    whole = (data / "cases" / "cover.jpg").read_bytes()
    clip.write_bytes(whole[: len(whole) * 9 // 10])
    assert run(["analyze", str(clip), "--json"]) == 0
    printed = capsys.readouterr()
    reason = "the file ends before the image does"
    assert printed.err == f"undercam: damaged clip: {clip}: {reason}\n"
    assert json.loads(printed.out)["damage"] == reason


def test_a_clip_is_not_annotated_as_a_picture(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.png"
    command = ["analyze", str(data / "cases" / "base.mp4"), "--annotate", str(out), "--json"]
    assert run(command) == USAGE
    said = capsys.readouterr().err
    assert said.splitlines() == [
        f"undercam: the input is a clip, not an image: {out}: end its name in .mp4, .mov or .mkv"
    ]
    assert not out.exists()


@pytest.mark.slow
def test_a_clip_that_changes_its_size(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path
) -> None:
    clip = data / "cases" / "reschange.ts"
    analyze(capsys, clip, "--annotate", tmp_path / "a.mp4")
    assert (
        run(["udc", str(clip), str(tmp_path / "b.mp4"), "--panel", "p-oled", "--severity", "2"])
        == 0
    )
    for name in ("a.mp4", "b.mp4"):
        with VideoSource(tmp_path / name, "a", "e0") as source:
            shapes = [frame.image.shape for frame in source]
        assert shapes == [(360, 640, 3)] * 60
