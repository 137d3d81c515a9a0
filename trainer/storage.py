"""Where a run keeps its files: a folder, or an address that Ray takes for storage.

An address (`s3://`, `gs://`, `hdfs://`, `file://`, ...) is one of `pyarrow.fs`. The run then works
in a folder of its own machine, and every file that is complete there is copied to the address.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trainer.errors import DataError

REACH = "give a folder, or an address that this machine may write to"
CHUNK_BYTES = 1 << 20


def is_address(run_dir: str) -> bool:
    """Whether the place of a run is an address, not a folder of this machine.

    >>> is_address("s3://bucket/run"), is_address("runs/a")
    (True, False)
    """
    return "://" in run_dir


class RemoteStorage:
    """The files of `folder`, kept at `address` too; folders below are left alone.

    Raises DataError for an address that is of no known kind, or cannot be reached.
    """

    def __init__(self, address: str, folder: Path) -> None:
        fs = import_filesystems(address)
        self._address, self._folder = address, folder
        self._sent: dict[str, tuple[int, int]] = {}
        with translate_errors(address):
            self._fs, self._root = fs.FileSystem.from_uri(address)
            self._fs.create_dir(self._root)
        self._in_place = fs.FileType.File, fs.FileSelector

    def push(self) -> None:
        """Copy every file that is new or changed; a reader of the address sees it whole, or as it
        was."""
        for path in sorted(self._folder.iterdir()):
            if path.name.startswith(".") or not path.is_file():
                continue
            status = path.stat()
            state = status.st_mtime_ns, status.st_size
            if self._sent.get(path.name) != state:
                self._send(path)
                self._sent[path.name] = state

    def pull(self) -> None:
        """Copy every file that the folder does not have yet."""
        is_file, selector = self._in_place
        with translate_errors(self._address):
            found = self._fs.get_file_info(selector(self._root))
            for entry in found:
                target = self._folder / entry.base_name
                is_wanted = entry.type == is_file and not entry.base_name.startswith(".")
                if is_wanted and not target.exists():
                    self._fetch(entry.path, target)

    def _send(self, path: Path) -> None:
        unfinished = f"{self._root}/.{path.name}.part"
        with translate_errors(self._address):
            with path.open("rb") as file, self._fs.open_output_stream(unfinished) as stream:
                while block := file.read(CHUNK_BYTES):
                    stream.write(block)
            self._fs.move(unfinished, f"{self._root}/{path.name}")

    def _fetch(self, source: str, target: Path) -> None:
        unfinished = target.with_name(f".{target.name}.part")
        with self._fs.open_input_stream(source) as stream, unfinished.open("wb") as file:
            while block := stream.read(CHUNK_BYTES):
                file.write(block)
        unfinished.replace(target)
        status = target.stat()
        self._sent[target.name] = status.st_mtime_ns, status.st_size


@contextmanager
def open_storage(run_dir: str) -> Iterator[tuple[Path, RemoteStorage | None]]:
    """The folder that a run works in, with the files that it has already, and its storage: None
    where `run_dir` is that folder itself."""
    if not is_address(run_dir):
        yield Path(run_dir), None
        return
    with TemporaryDirectory(prefix="undercam-run-") as folder:
        storage = RemoteStorage(run_dir, Path(folder))
        storage.pull()
        yield Path(folder), storage


def import_filesystems(address: str) -> Any:
    """`pyarrow.fs`; raises DataError where it is not installed."""
    try:
        from pyarrow import fs
    except ImportError as error:
        raise DataError("pyarrow is not installed", address, "pip install 'ray[train]'") from error
    return fs


@contextmanager
def translate_errors(address: str) -> Iterator[None]:
    """Raise DataError for what `pyarrow.fs` raises."""
    try:
        yield
    except (OSError, ValueError, NotImplementedError) as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"storage not reached ({what})", address, REACH) from error
