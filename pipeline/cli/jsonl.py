"""Records in a file, one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from models.atomic_files import unwritable
from pipeline.records import Event


class JsonLinesWriter:
    """Writes records to `path`, unbuffered; raises UndercamError where that fails."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._translate_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb", buffering=0)

    def __enter__(self) -> JsonLinesWriter:
        return self

    def __exit__(self, *ending: object) -> None:
        self._file.close()

    def __call__(self, records: Sequence[Event]) -> None:
        """Write records; an unbuffered write may take only a part of them at a time."""
        left = "".join(record.to_json() + "\n" for record in records).encode()
        with self._translate_errors():
            while left:
                left = left[self._file.write(left) :]

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise unwritable(self._path, error) from error
