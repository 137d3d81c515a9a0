"""What commands that run on and on have in common: how they end, and what they say meanwhile."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event
from typing import Any

from pipeline.cli.output import warn
from pipeline.errors import StopRequested, UndercamError

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Says whether Ctrl-C, SIGTERM or SIGHUP came; in here none of them interrupts anything."""
    asked = Event()

    def ask(*_: Any) -> None:
        asked.set()

    with _handled(ENDINGS, ask):
        yield asked.is_set


@contextmanager
def stopped_at_once() -> Iterator[None]:
    """SIGTERM or SIGHUP raises StopRequested in here, as Ctrl-C raises KeyboardInterrupt: for as
    long as there is nothing that has to be ended in order."""

    def stop(*_: Any) -> None:
        raise StopRequested

    with _handled(ENDINGS[1:], stop):
        yield


@contextmanager
def _handled(numbers: Sequence[signal.Signals], handler: Callable[..., None]) -> Iterator[None]:
    """A signal that is ignored, as nohup wants it of SIGHUP, stays so."""
    heeded = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heeded}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


class Complaints:
    """Says a fault on stderr when it begins, and not again while it lasts."""

    def __init__(self) -> None:
        self._said = ""

    def hear(self, fault: UndercamError | None) -> None:
        """The fault of this moment, if there is one."""
        if fault and str(fault) != self._said:
            warn(fault.what, fault.where, fault.remedy)
        self._said = str(fault or "")
