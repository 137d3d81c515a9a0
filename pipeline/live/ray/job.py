"""What one command wants run; every actor is told all of it."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.config import Settings
from pipeline.holder import Holder


@dataclass(frozen=True)
class Job:
    """`folders` are searched for networks that are not bundled; `is_seeded` says that the roster
    knows the cameras of the settings; relative paths begin at `home`; `holder` is the command."""

    settings: Settings
    folders: tuple[Path, ...] = ()
    is_seeded: bool = False
    home: Path = field(default_factory=Path.cwd)
    holder: Holder = field(default_factory=Holder.here)

    def settle(self) -> None:
        """Work in `home`, where there is such a folder on this machine too."""
        with suppress(OSError):
            os.chdir(self.home)

    def is_like(self, other: Job) -> bool:
        """Whether one may take up what the other began."""
        return (self.settings, self.home) == (other.settings, other.home)
