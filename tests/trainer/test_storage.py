"""A run's files at an address of pyarrow's file systems: pushed whole, pulled where they lack."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from models.weights import ModelCard
from trainer.data.faceset import FaceSet
from trainer.distributed import DistributedContext
from trainer.errors import DataError
from trainer.loop import train
from trainer.recipes import Recipe
from trainer.storage import RemoteStorage, open_storage


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_folder_is_used_as_it_is(tmp_path: Path) -> None:
    with open_storage(str(tmp_path)) as (folder, storage):
        assert (folder, storage) == (tmp_path, None)


def test_files_go_there_and_come_back(tmp_path: Path) -> None:
    kept, address = tmp_path / "kept", f"file://{tmp_path}/kept/run"
    with open_storage(address) as (folder, storage):
        assert storage is not None
        (folder / "a").write_bytes(b"1")
        (folder / ".b.part").write_bytes(b"not finished")
        (folder / "below").mkdir()
        storage.push()
        (folder / "a").write_bytes(b"22")
        (folder / "c").write_bytes(b"3")
        storage.push()
    assert contents(kept / "run") == {"a": b"22", "c": b"3"}
    (kept / "run" / "ray").mkdir()  # what Ray keeps below
    with open_storage(address) as (folder, storage):
        assert contents(folder) == {"a": b"22", "c": b"3"}


def test_what_did_not_change_is_not_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    storage = RemoteStorage(f"file://{tmp_path}/there", here)
    (here / "a").write_bytes(b"1")
    storage.push()
    sent: list[str] = []
    monkeypatch.setattr(storage, "_send", lambda path: sent.append(path.name))
    storage.push()
    (here / "b").write_bytes(b"1")
    storage.push()
    assert sent == ["b"]
    other = tmp_path / "other"
    other.mkdir()
    again = RemoteStorage(f"file://{tmp_path}/there", other)
    again.pull()
    monkeypatch.setattr(again, "_send", lambda path: sent.append(path.name))
    again.push()
    assert sent == ["b"]


@pytest.mark.parametrize("address", ["nothing://at/all", "file:///proc/nowhere"])
def test_an_address_that_is_not_reached(address: str) -> None:
    with (
        pytest.raises(DataError, match=r"storage not reached \(.*\): .*: give a folder, or"),
        open_storage(address),
    ):
        pass


class StoppedError(Exception):
    """The power goes out."""


def test_a_run_is_resumed_from_an_address_on_another_machine(
    tmp_path: Path,
    tiny_card: ModelCard,
    make_faces: Callable[..., FaceSet],
    make_recipe: Callable[..., Recipe],
) -> None:
    """An epoch that was reported is there: the folder of the first machine is gone."""
    recipe, faces, address = make_recipe(epochs=3), make_faces(), f"file://{tmp_path}/kept"
    reported: list[int] = []

    def report(line: dict[str, Any]) -> None:
        reported.append(line["epoch"])
        if reported == [1, 2]:
            raise StoppedError

    for wanted in ([1, 2], [1, 2, 3]):
        with open_storage(address) as (folder, storage):
            context = DistributedContext(storage=storage)
            with suppress(StoppedError):
                train(recipe, tiny_card, faces, None, 0, folder, report=report, context=context)
        assert reported == wanted
    train(recipe, tiny_card, faces, None, 0, tmp_path / "whole")
    name = "fit.safetensors"
    assert contents(tmp_path / "kept")[name] == contents(tmp_path / "whole")[name]
