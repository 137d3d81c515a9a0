"""What is written is for its owner alone, whatever the umask; what others made is left alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.bus.outbox import Outbox
from pipeline.bus.relay import Relay
from pipeline.permissions import find_exposed, make_file, make_folder
from pipeline.store.engine import open_store
from pipeline.store.writer import StoreWriter


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_databases_and_outboxes_are_for_their_owner(umask: int, tmp_path: Path, make: Any) -> None:
    engine = open_store(f"sqlite:///{tmp_path}/deep/state/undercam.db")
    StoreWriter(engine).write([make.look()])
    with Outbox(tmp_path / "state/outbox", "door", "e1") as outbox:
        outbox.append([make.look()])
        with Relay(tmp_path / "state/outbox", lambda _: None):
            found = {path: mode(path) for path in tmp_path.rglob("*")}
    engine.dispose()
    assert len(found) == 4 + 3 + 5
    assert {m for p, m in found.items() if p.is_dir()} == {0o700}
    assert {m for p, m in found.items() if p.is_file()} == {0o600}


def test_a_folder_that_exists_keeps_its_mode(umask: int, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    open_store(f"sqlite:///{tmp_path}/my.db").dispose()
    assert (mode(tmp_path), mode(tmp_path / "my.db")) == (0o755, 0o600)


def test_a_file_that_exists_keeps_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"rows")
    make_file(path)
    assert path.read_bytes() == b"rows"
    with pytest.raises(NotADirectoryError):
        make_folder(path / "below")
    with pytest.raises(NotADirectoryError):
        make_folder(path)


def test_what_others_may_use_is_found_and_tightened(tmp_path: Path) -> None:
    for name, bits in (("closed", 0o600), ("group", 0o640), ("world", 0o604)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(bits)
    (tmp_path / "link").symlink_to("world")
    (tmp_path / "folder").mkdir(mode=0o755)
    (tmp_path / "folder").chmod(0o755)
    found = find_exposed([*sorted(tmp_path.iterdir()), tmp_path / "gone"])
    assert [(one.path.name, one.mode) for one in found] == [
        ("folder", 0o755),
        ("group", 0o640),
        ("world", 0o604),
    ]
    assert all(one.tighten() for one in found)
    assert find_exposed(tmp_path.iterdir()) == []
    assert mode(tmp_path / "folder") == 0o700
