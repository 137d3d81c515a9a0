"""The root of every error that Undercam shows to a person.

    UndercamError            exit code 1   one sentence: what, where, the remedy
    └── ModelError           exit code 5   weights, a detector's network, or what is fed to them

The rest of the tree stands in `pipeline.errors`.
"""

from __future__ import annotations


class UndercamError(Exception):
    """An error with its remedy: `str()` reads "what: where: remedy"."""

    exit_code = 1

    def __init__(self, what: str, where: str, remedy: str) -> None:
        super().__init__(f"{what}: {where}: {remedy}")
        self.what = what
        self.where = where
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[UndercamError], tuple[str, str, str]]:
        """So that it may come from another process."""
        return type(self), (self.what, self.where, self.remedy)


class ModelError(UndercamError):
    """Weights, a network file, or an input that a network cannot take."""

    exit_code = 5
