from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.detectors.centerface import CenterFace
from pipeline.errors import InputError
from pipeline.media import sample_clip as sample_module
from pipeline.media.sample_clip import PEOPLE, SCRIPT_S, generate_frames, write_sample
from pipeline.stages.source.file import VideoSource

Picture = NDArray[np.uint8]
SIZE = (1280, 720)


@pytest.fixture(scope="module")
def half_seconds() -> list[Picture]:
    """The whole script, two pictures a second."""
    return list(generate_frames(SCRIPT_S, 2, SIZE))


def test_faces_come_and_go(half_seconds: list[Picture]) -> None:
    detector = CenterFace(threshold=0.5, second_scale=False, threads=1)
    faces = [detector.detect(picture).boxes for picture in half_seconds]
    found = [len(boxes) for boxes in faces]
    assert found[6:9] == [3, 3, 3]  # from 3 s
    assert max(found[9:14]) == 4  # one more walks by,
    assert min(found[9:14]) == 3  # and hides somebody for a moment
    assert found[17:23] == [0] * 6  # from 8.5 s
    assert found[28:36] == [3] * 8  # from 14 s
    assert min((boxes[:, 3] - boxes[:, 1]).min() for boxes in faces if len(boxes)) > 90


def test_nobody_for_a_while(half_seconds: list[Picture]) -> None:
    wall = half_seconds[0]
    empty = [np.array_equal(picture, wall) for picture in half_seconds]
    assert [index / 2 for index, is_wall in enumerate(empty) if is_wall] == [
        *(0.0, 9.0, 9.5, 10.0, 10.5, 11.0, 19.5)
    ]


def test_no_face_is_cut_by_the_photographs_edge() -> None:
    for person in PEOPLE:
        height, width, _ = sample_module._photograph(*person.photograph).shape
        half = person.side // 2
        assert half <= person.centre[0] <= width - half
        assert half <= person.centre[1] <= height - half


def test_moves_smoothly() -> None:
    before: Picture | None = None
    for picture in islice(generate_frames(10, 25, (320, 180)), 60, 160):
        if before is not None:
            assert np.abs(picture.astype(int) - before).mean() < 9
        before = picture


def test_script_repeats() -> None:
    pictures = list(generate_frames(2 * SCRIPT_S, 0.5, (160, 90)))
    assert len(pictures) == 20
    assert all(map(np.array_equal, pictures[:10], pictures[10:]))


def test_clip(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_sample(tmp_path / name, seconds=2, fps=10, size=(320, 180))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    with VideoSource(tmp_path / "a.mp4", "sample", "0123456789ab") as source:
        frames = list(source)
        assert (len(frames), source.fps, source.damage) == (20, 10, "")
    drawn = list(generate_frames(2, 10, (320, 180)))
    assert np.abs(frames[-1].image.astype(int) - drawn[-1]).mean() < 3


def test_heavy_packages_stay_unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("insightface", "skimage"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    next(generate_frames(1, 1, (160, 90)))
    assert not {"insightface", "skimage"} & set(sys.modules)


@pytest.mark.parametrize("place", [("no_such_package", "x.jpg"), ("skimage", "data/none.png")])
def test_missing_photograph(monkeypatch: pytest.MonkeyPatch, place: tuple[str, str]) -> None:
    with pytest.raises(InputError, match=rf"photograph is missing: .*: reinstall {place[0]}"):
        sample_module._photograph(*place)


@pytest.mark.slow
def test_whole_clip(tmp_path: Path) -> None:
    write_sample(tmp_path / "sample.mp4")
    with VideoSource(tmp_path / "sample.mp4", "sample", "0123456789ab") as source:
        assert source.duration_s == pytest.approx(20)
        assert sum(1 for _ in source) == 500
        assert source.damage == ""
