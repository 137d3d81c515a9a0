"""Atomic writes: a reader sees the whole file or none of it; errors name the remedy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from models.errors import UndercamError

REMEDY = "give a path in a folder that this user may write to, with room left"


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Gives a path to write to, which takes the place of `path` at the end; folders are made.

    Raises UndercamError where nothing can be written. Whatever is raised, `path` stays as it was.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        _make_folder(path.parent)
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raises UndercamError where `writing` could not begin, or end; leaves only folders behind."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.is_dir():
            raise IsADirectoryError(None, "Is a directory")
        _make_folder(path.parent)
        unfinished.touch()
        unfinished.unlink()
    except OSError as error:
        raise unwritable(path, error) from error


def _make_folder(folder: Path) -> None:
    with suppress(FileExistsError):  # a file lies there: writing below it says so better
        folder.mkdir(parents=True, exist_ok=True)


def unwritable(path: Path, error: OSError) -> UndercamError:
    """The error for a path that cannot be written."""
    return UndercamError(f"cannot write ({error.strerror or error})", str(path), REMEDY)
