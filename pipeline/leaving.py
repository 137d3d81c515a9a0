"""How a command exits: as Python does, or at once where a library would keep it from ending."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

_last: list[Callable[[], None]] = []


def leave_at_once(last: Callable[[], None]) -> None:
    """From now on `leave` waits for no thread and runs no exit handler, but calls `last`."""
    _last.append(last)


def leave(code: int) -> NoReturn:
    """End this process with an exit code."""
    if _last:
        sys.stdout.flush()
        sys.stderr.flush()
        for act in _last:
            act()
        os._exit(code)
    sys.exit(code)
