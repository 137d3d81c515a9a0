"""A file is there whole or as it was; what cannot be written is one sentence."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from models.atomic_files import check_writable, writing
from models.errors import UndercamError
from tests.disk import full_disk

PLACES = ["file/a", "folder"]
"""Below a file, and where a folder lies."""


@pytest.fixture
def places(tmp_path: Path) -> Path:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    return tmp_path


def test_folders_are_made_and_the_old_is_replaced_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.txt"
    for text in ("old", "new"):
        with writing(path) as unfinished:
            unfinished.write_text(text)
            assert not path.exists() or path.read_text() == "old"
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_what_raises_leaves_the_old(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    path.write_text("old")
    with suppress(RuntimeError), writing(path) as unfinished:
        unfinished.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old(tmp_path: Path) -> None:
    path = tmp_path / "c.bin"
    path.write_text("old")
    told = r"^cannot write \(File too large\): .*c\.bin: give a path"
    with (
        full_disk(1_000),
        pytest.raises(UndercamError, match=told),
        writing(path) as unfinished,
    ):
        unfinished.write_bytes(bytes(3_000))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", PLACES)
def test_where_nothing_can_be(places: Path, place: str) -> None:
    told = rf"^cannot write \(.+\): .*{place}: give a path"
    with pytest.raises(UndercamError, match=told), writing(places / place) as unfinished:
        unfinished.touch()
    with pytest.raises(UndercamError, match=told):
        check_writable(places / place)


def test_checking_leaves_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    check_writable(tmp_path / "old")
    check_writable(tmp_path / "new" / "file")
    assert (tmp_path / "old").read_text() == "old"
    assert not list((tmp_path / "new").iterdir())
