"""Pictures from and to files: the same pixels back, or one sentence."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from models.errors import UndercamError
from trainer.data.folders import read_folder
from trainer.data.images import read_image, write_image
from trainer.errors import DataError


@pytest.mark.parametrize("name", ["a.png", "b.bmp", "c.PNG"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    write_image(tmp_path / name, picture)
    assert np.array_equal(read_image(tmp_path / name), picture)
    write_image(tmp_path / name, picture[..., 0])
    assert np.array_equal(read_image(tmp_path / name), picture[..., :1].repeat(3, axis=2))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unreadable image: .*nothing.png"):
        read_image(tmp_path / "nothing.png")
    (tmp_path / "file").touch()
    with pytest.raises(UndercamError, match=r"cannot write \(Not a directory\)"):
        write_image(tmp_path / "file" / "a.png", np.zeros((2, 2), np.uint8))


def photograph(path: Path, orientation: int = 0) -> Path:
    """Half red, half blue, too rich to be a few bytes."""
    picture = np.random.default_rng(0).integers(0, 60, (80, 100, 3), dtype=np.uint8)
    picture[:40, :, 0] += 150
    picture[40:, :, 2] += 150
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.fromarray(picture).save(path, exif=exif)
    return path


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "bmp"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_picture_that_was_cut_is_said(tmp_path: Path, ending: str, share: float) -> None:
    path = photograph(tmp_path / f"a.{ending}")
    assert read_image(path).shape == (80, 100, 3)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError, match=r"unreadable image.*: .*a\.\w+: remove or replace it"):
        read_image(path)


def test_a_data_set_names_the_picture_that_was_cut(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "happiness").mkdir(exist_ok=True)
        photograph(tmp_path / "happiness" / name)
    read_folder("plain", tmp_path, "train")
    cut = tmp_path / "happiness" / "b.jpg"
    cut.write_bytes(cut.read_bytes()[:-600])
    with pytest.raises(DataError, match=r"unreadable image \(.*truncated.*\): .*b\.jpg"):
        read_folder("plain", tmp_path, "train")


@pytest.mark.parametrize("side", [9_000, 12_000, 20_000])
def test_a_picture_too_large_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    path = tmp_path / "huge.png"
    Image.new("1", (side, side)).save(path)
    monkeypatch.setattr(cv2, "imread", lambda *_: pytest.fail("it is decoded"))
    with pytest.raises(DataError, match=r"a frame .*larger than 8192 a side.*huge\.png: scale it"):
        read_image(path)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_pictures_are_turned_upright(tmp_path: Path, ending: str, orientation: int) -> None:
    picture = read_image(photograph(tmp_path / f"a.{ending}", orientation)).astype(int)
    red = picture[..., 0] > picture[..., 2]
    if orientation == 3:
        assert red[45:].mean() > 0.98
    else:
        assert picture.shape == (100, 80, 3)
        assert red[:, 45:].mean() > 0.98
