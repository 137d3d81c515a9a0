"""Every error of the pipeline that a person may see, and the exit code it ends a command with.

UndercamError        1   (models.errors) anything that has a remedy
├── ModelError       5   (models.errors) weights, networks
├── ConfigError      2   a setting or an option that cannot be used
├── InputError       3   a file or a stream that cannot be read
├── ServiceError     4   a database or broker that cannot be reached or refuses
│   └── RecordRefused    it refuses this record for good: sending it again is in vain
├── PoolFull         1   a classifier pool has more to do than it may keep waiting
└── StageFailed      1   a stage raised an unexpected error
"""

from __future__ import annotations

from models.errors import ModelError, UndercamError

__all__ = [
    "ConfigError",
    "InputError",
    "ModelError",
    "PoolFull",
    "RecordRefused",
    "ServiceError",
    "StageFailed",
    "StopRequested",
    "UndercamError",
]


class ConfigError(UndercamError):
    """A setting, an option or a configuration file that cannot be used."""

    exit_code = 2


class InputError(UndercamError):
    """A file, camera or stream that cannot be opened or decoded."""

    exit_code = 3


class ServiceError(UndercamError):
    """A database or a broker that cannot be reached, is locked, or refuses us."""

    exit_code = 4


class RecordRefused(ServiceError):
    """A database or a broker that takes other records, but never this one."""


class PoolFull(UndercamError):
    """A classifier pool has more to do than it may keep waiting: retry later, or give up."""

    exit_code = 1


class StageFailed(UndercamError):
    """A stage raised: the first cause hangs on `__cause__` and nothing after it was written."""

    exit_code = 1


class StopRequested(Exception):
    """Somebody wants the command to end before it has begun; it ends with exit code 0."""


class RenamedSetting(FutureWarning):
    """A setting was given under its name of the release before, which is read for one release."""
