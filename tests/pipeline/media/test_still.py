from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import ConfigError, UndercamError
from pipeline.media.video import IMAGE_SUFFIXES, ImageWriter, VideoWriter, open_writer

PICTURE = np.full((30, 40, 3), (200, 60, 20), np.uint8)


@pytest.mark.parametrize("ending", IMAGE_SUFFIXES)
def test_one_picture(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    with open_writer(path, 40, 30, 25) as writer:
        writer.write(PICTURE, 0.0)
        assert not path.exists()
    written = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    assert np.abs(written.astype(int) - PICTURE).max() < 12


def test_a_second_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with ImageWriter(path) as writer:
        writer.write(PICTURE)
        with pytest.raises(
            ConfigError, match=r"the input is a clip, not an image: .*a\.png: end its name in"
        ):
            writer.write(PICTURE)


def test_nothing_is_left_of_a_block_that_failed(tmp_path: Path) -> None:
    def fail() -> None:
        with ImageWriter(tmp_path / "a.png") as writer:
            writer.write(PICTURE)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    writer = ImageWriter(tmp_path / "file" / "a.png")
    writer.write(PICTURE)
    with pytest.raises(UndercamError, match="cannot write"):
        writer.__exit__(None, None, None)


def test_a_clip_gets_a_video(tmp_path: Path) -> None:
    assert isinstance(open_writer(tmp_path / "a.mp4", 40, 30, 25), VideoWriter)
