"""The relay of one machine at work: a thread that drains the outboxes, and outlives every fault."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.bus.relay import DrainedElsewhere, Relay
from pipeline.closing import Service
from pipeline.config import Settings
from pipeline.erasure import Erasure
from pipeline.errors import ServiceError, UndercamError
from pipeline.live.delivery import delivery
from pipeline.metrics import RelayMetrics

IDLE_S, COUNT_S, RETRY_S = 0.05, 0.5, 1.0
"""Seconds between two looks at empty outboxes, two reports, and two attempts to start."""


@dataclass(frozen=True)
class RelayReport:
    """Counts of events that wait, were sent, were lost, and were unreadable; `fault` is what keeps
    the relay from delivering, "" while nothing does; `damaged` names the outboxes that were set
    aside. `elsewhere`: the fault is that another relay drains the same folder. `erased` counts
    records deleted because of an erasure, `erasures` the erasures that the relay has applied."""

    waiting: int = 0
    sent: int = 0
    lost: int = 0
    dead: int = 0
    fault: str = ""
    damaged: tuple[str, ...] = ()
    elsewhere: bool = False
    erased: int = 0
    erasures: int = 0


class RelayService(Service):
    """Delivers what waits in the outboxes until it is closed; `report` is its last report."""

    def __init__(self, settings: Settings) -> None:
        self.metrics = RelayMetrics()
        self.report = self._before = RelayReport(fault="the relay has not started")
        self._settings = settings
        self._erasures: tuple[Erasure, ...] = ()
        self._erase_at_s = 0.0
        self._stop = threading.Event()
        self._drain_until_s = 0.0
        self._thread = threading.Thread(target=self._main, name="relay", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def apply_erasures(self, erasures: Sequence[Erasure]) -> None:
        """These are all erasures by now: delete from the outboxes at once what they cover."""
        self._erasures = tuple(erasures)

    def close(self, drain_s: float = 0.0, timeout_s: float | None = None) -> None:
        """Finish the batch that is under way, and release the outboxes.

        Events that wait are delivered first, for at most `drain_s`, for as long as bus or store
        takes them. A receiver that does not answer holds us up for `timeout_s` at most.
        """
        self._drain_until_s = time.monotonic() + drain_s
        self._stop.set()
        if self._thread.ident:
            self._thread.join(timeout_s)

    def _main(self) -> None:
        while not self._stop.is_set():
            try:
                self._relay()
            except Exception as error:  # noqa: BLE001 - a relay that ends in silence looks well
                self._fail(error)
                self._stop.wait(RETRY_S)

    def _relay(self) -> None:
        outbox = self._settings.outbox
        with (
            delivery(self._settings, self.metrics.erased.inc) as deliver,
            Relay(outbox.folder, deliver, outbox.batch_rows) as relay,
        ):
            reported_s = -COUNT_S
            is_over = False
            while not is_over:
                # Read before the step: what was appended before `close` is seen by this step.
                is_stopping = self._stop.is_set()
                self._erase(relay)
                sent = relay.step()
                if not sent or time.monotonic() - reported_s > COUNT_S:
                    self._publish(relay)
                    reported_s = time.monotonic()
                if not sent:
                    self._stop.wait(IDLE_S)
                is_over = is_stopping and (not sent or time.monotonic() >= self._drain_until_s)
            self._publish(relay)

    def _erase(self, relay: Relay) -> None:
        """Where a file cannot be changed, it is tried again a second later."""
        if relay.erasures == self._erasures or time.monotonic() < self._erase_at_s:
            return
        relay.apply_erasures(self._erasures)
        self._erase_at_s = time.monotonic() + RETRY_S

    def _fail(self, error: Exception) -> None:
        """Report a fault; the next relay counts on from here."""
        if isinstance(error, OSError):
            folder = self._settings.outbox.folder
            error = ServiceError("outbox cannot be used", folder, error.strerror or str(error))
        elif not isinstance(error, UndercamError):
            error = ServiceError("the relay failed", type(error).__name__, str(error))
        elsewhere = isinstance(error, DrainedElsewhere)
        self.report = self._before = replace(self.report, fault=str(error), elsewhere=elsewhere)
        self.metrics.up.set(0)

    def _publish(self, relay: Relay) -> None:
        last, before, metrics = self.report, self._before, self.metrics
        self.report = RelayReport(
            relay.waiting,
            before.sent + relay.sent,
            before.lost + relay.lost,
            before.dead + relay.dead,
            str(relay.fault) if relay.fault else "",
            (*before.damaged, *(path.name for path in relay.damaged)),
            erased=before.erased + relay.erased,
            erasures=len(relay.erasures),
        )
        metrics.waiting.set(self.report.waiting)
        metrics.lost.inc(self.report.lost - last.lost)
        metrics.dead.inc(self.report.dead - last.dead)
        metrics.erased.inc(self.report.erased - last.erased)
        metrics.delivered.inc(self.report.sent - last.sent)
        metrics.up.set(not self.report.fault)
