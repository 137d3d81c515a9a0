"""Records in a file, one JSON a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from models.atomic_files import unwritable
from pipeline.records import Event


class Lines:
    """Writes records to `path`, each at once; raises UndercamError where that cannot be."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb", buffering=0)

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *ending: object) -> None:
        self._file.close()

    def __call__(self, records: Sequence[Event]) -> None:
        """Write records, however few the file takes at a time."""
        left = "".join(record.to_json() + "\n" for record in records).encode()
        with self._told():
            while left:
                left = left[self._file.write(left) :]

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise unwritable(self._path, error) from error
