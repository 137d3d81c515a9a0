"""Pictures from and to files: the same pixels back, or one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.errors import UndercamError
from trainer.data.pictures import read_picture, write_picture
from trainer.errors import DataError


@pytest.mark.parametrize("name", ["a.png", "b.bmp", "c.PNG"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    write_picture(tmp_path / name, picture)
    assert np.array_equal(read_picture(tmp_path / name), picture)
    write_picture(tmp_path / name, picture[..., 0])
    assert np.array_equal(read_picture(tmp_path / name), picture[..., :1].repeat(3, axis=2))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unreadable picture: .*nothing.png"):
        read_picture(tmp_path / "nothing.png")
    (tmp_path / "file").touch()
    with pytest.raises(UndercamError, match=r"cannot write \(Not a directory\)"):
        write_picture(tmp_path / "file" / "a.png", np.zeros((2, 2), np.uint8))
