"""What goes wrong with training data."""

from __future__ import annotations

from models.errors import UndercamError


class DataError(UndercamError):
    """A data set that is missing, misnamed or not in the layout that was asked for."""

    exit_code = 3


class OptionError(DataError):
    """An option whose value is none of those there are, or does not go with the others."""

    exit_code = 2
