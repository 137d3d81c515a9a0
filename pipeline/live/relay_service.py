"""The relay of one machine at work: a thread that drains its outboxes, whatever is away."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

from pipeline.bus.relay import DrainedElsewhere, Relay
from pipeline.config import Settings
from pipeline.errors import ServiceError, UndercamError
from pipeline.live.delivery import delivery
from pipeline.metrics import RelayMetrics

IDLE_S, COUNT_S, AGAIN_S = 0.05, 0.5, 1.0
"""Between two looks at empty outboxes, two counts, two tries to begin."""


@dataclass(frozen=True)
class RelayReport:
    """Events that wait, arrived, were lost, and were unreadable; `fault` is what keeps the relay
    from delivering, "" while nothing does; `damaged` are the outboxes that were set aside.
    `elsewhere`: the fault is that another relay drains them."""

    waiting: int = 0
    sent: int = 0
    lost: int = 0
    dead: int = 0
    fault: str = ""
    damaged: tuple[str, ...] = ()
    elsewhere: bool = False


class Relaying:
    """Begins at once and goes on until it is closed."""

    def __init__(self, settings: Settings) -> None:
        self.metrics = RelayMetrics()
        self.report = self._before = RelayReport(fault="the relay has not begun")
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._main, name="relay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finish the batch that is under way, and let go of the outboxes."""
        self._stop.set()
        self._thread.join()

    def _main(self) -> None:
        while not self._stop.is_set():
            try:
                self._relay()
            except Exception as error:  # noqa: BLE001 - if it ended in silence, all would look well
                self._fail(error)
                self._stop.wait(AGAIN_S)

    def _relay(self) -> None:
        outbox = self._settings.outbox
        with (
            delivery(self._settings) as deliver,
            Relay(outbox.folder, deliver, outbox.batch_rows) as relay,
        ):
            counted_s = -COUNT_S
            while not self._stop.is_set():
                sent = relay.step()
                if not sent or time.monotonic() - counted_s > COUNT_S:
                    self._tell(relay)
                    counted_s = time.monotonic()
                if not sent:
                    self._stop.wait(IDLE_S)
            self._tell(relay)

    def _fail(self, error: Exception) -> None:
        """What was counted stands; the next relay counts on from there."""
        if isinstance(error, OSError):
            folder = self._settings.outbox.folder
            error = ServiceError("outbox cannot be used", folder, error.strerror or str(error))
        elif not isinstance(error, UndercamError):
            error = ServiceError("the relay failed", type(error).__name__, str(error))
        elsewhere = isinstance(error, DrainedElsewhere)
        self.report = self._before = replace(self.report, fault=str(error), elsewhere=elsewhere)
        self.metrics.up.set(0)

    def _tell(self, relay: Relay) -> None:
        last, before, metrics = self.report, self._before, self.metrics
        self.report = RelayReport(
            relay.waiting,
            before.sent + relay.sent,
            before.lost + relay.lost,
            before.dead + relay.dead,
            str(relay.fault) if relay.fault else "",
            (*before.damaged, *(path.name for path in relay.damaged)),
        )
        metrics.waiting.set(self.report.waiting)
        metrics.lost.inc(self.report.lost - last.lost)
        metrics.dead.inc(self.report.dead - last.dead)
        metrics.delivered.inc(self.report.sent - last.sent)
        metrics.up.set(not self.report.fault)
