"""What commands that run on and on have in common: how they end, and what they say meanwhile."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

from pipeline.cli.output import warn
from pipeline.errors import UndercamError

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Says whether Ctrl-C, SIGTERM or SIGHUP came; in here none of them interrupts anything."""
    asked = Event()

    def ask(*_: Any) -> None:
        asked.set()

    # One that is ignored, as nohup wants it of SIGHUP, stays so.
    heeded = [number for number in ENDINGS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, ask) for number in heeded}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Complaints:
    """Says a fault on stderr when it begins, and not again while it lasts."""

    def __init__(self) -> None:
        self._said = ""

    def hear(self, fault: UndercamError | None) -> None:
        """The fault of this moment, if there is one."""
        if fault and str(fault) != self._said:
            warn(fault.what, fault.where, fault.remedy)
        self._said = str(fault or "")
