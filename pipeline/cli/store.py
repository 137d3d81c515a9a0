"""`undercam store`: reads events from Kafka and writes them into the database."""

from __future__ import annotations

import math
import time
from typing import Annotated

from typer import Option

from pipeline.cli.longrun import FaultPrinter, catch_stop_signals
from pipeline.cli.options import MOST_SECONDS, AsJsonAtEnd, Config
from pipeline.cli.output import OUT, print_json
from pipeline.cli.state import tighten
from pipeline.config import Settings, load
from pipeline.errors import ConfigError


def store(
    config: Config = None,
    until_idle: Annotated[
        float,
        Option(
            help="Stop after so many seconds without a message; 0: never.",
            min=0,
            max=MOST_SECONDS,
        ),
    ] = 0.0,
    as_json: AsJsonAtEnd = False,
) -> None:
    """Write events from the bus into the database, until Ctrl-C or SIGTERM.

    Several instances may run at once: they share the partitions of the topics. While the database
    cannot be reached, events wait in Kafka.
    """
    settings = load(config)
    if not settings.bus.url:
        remedy = "set it; without a bus, `undercam run` writes into the database directly"
        raise ConfigError("no bus to read from", "bus.url", remedy)
    tighten(settings)
    counts = _consume(settings, until_idle or math.inf)
    if as_json:
        print_json(counts)
    else:
        cut = f" ({counts['cut']} of them truncated)" if counts["cut"] else ""
        erased = f", dropped {counts['erased']} that were erased" if counts["erased"] else ""
        OUT.print(f"stored {counts['events']} events, {counts['dead']} dead letters{cut}{erased}")


def _consume(settings: Settings, until_idle_s: float) -> dict[str, float]:
    from pipeline.live.delivery import open_publisher

    # It raises a clear ConfigError where Kafka's client is missing; our consumer's module needs it.
    open_publisher(settings.bus).close()
    from pipeline.live.store_consumer import open_consumer

    with open_consumer(settings) as consumer, catch_stop_signals() as stop:
        faults = FaultPrinter()

        def is_stopped() -> bool:
            faults.update(consumer.fault)
            return stop()

        started_s = time.monotonic()
        consumer.run(is_stopped, until_idle_s)
        return {
            "events": consumer.events,
            "batches": consumer.batches,
            "dead": consumer.dead,
            "erased": consumer.erased,
            "cut": consumer.cut,
            "seconds": round(time.monotonic() - started_s, 1),
        }
