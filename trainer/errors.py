"""Errors of training data and options."""

from __future__ import annotations

from models.errors import UndercamError


class DataError(UndercamError):
    """A data set that is missing, unknown or in another layout."""

    exit_code = 3


class OptionError(DataError):
    """An option whose value is unknown, or does not go with the others."""

    exit_code = 2
