"""What commands that run until they are stopped share: the signals that stop them, and faults."""

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
def catch_stop_signals() -> Iterator[Callable[[], bool]]:
    """Yields whether Ctrl-C, SIGTERM or SIGHUP came; inside the block none of them interrupts."""
    is_stopping = Event()

    def ask(*_: Any) -> None:
        is_stopping.set()

    # A signal that is ignored stays ignored: nohup does that to SIGHUP.
    handled = [number for number in ENDINGS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, ask) for number in handled}
    try:
        yield is_stopping.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class FaultPrinter:
    """Prints a fault on stderr when it begins, and not again while it lasts."""

    def __init__(self) -> None:
        self._printed = ""

    def update(self, fault: UndercamError | None) -> None:
        """Take the present fault, or None."""
        if fault and str(fault) != self._printed:
            warn(fault.what, fault.where, fault.remedy)
        self._printed = str(fault or "")
