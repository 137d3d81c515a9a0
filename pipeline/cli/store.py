"""`undercam store`: from Kafka into the database."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.cli.longrun import FaultPrinter, asked_to_stop
from pipeline.cli.numbers import MOST_SECONDS
from pipeline.cli.output import OUT, print_json
from pipeline.cli.state import tighten
from pipeline.config import Settings, load, resolve
from pipeline.errors import ConfigError


def store(
    config: Annotated[Path | None, Option("-c", "--config", help="A TOML file.")] = None,
    until_idle: Annotated[
        float,
        Option(
            help="End when nothing came for so many seconds; 0: never.", min=0, max=MOST_SECONDS
        ),
    ] = 0.0,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object at the end.")] = False,
) -> None:
    """Put what arrives on the bus into the database, until Ctrl-C or SIGTERM.

    Several may run at once and share the work. While the database is away, nothing is lost.
    """
    settings = load(config)
    if not settings.bus.url:
        remedy = "set it; without a bus `undercam run` writes into the database itself"
        raise ConfigError("no bus to read from", "bus.url", remedy)
    tighten(settings)
    counts = _consume(settings, until_idle or math.inf)
    if as_json:
        print_json(counts)
    else:
        cut = f" ({counts['cut']} of them cut)" if counts["cut"] else ""
        OUT.print(f"stored {counts['events']} events, {counts['dead']} dead letters{cut}")


def _consume(settings: Settings, until_idle_s: float) -> dict[str, float]:
    from pipeline.live.delivery import open_publisher
    from pipeline.store.engine import using_store
    from pipeline.store.writer import StoreWriter

    with ExitStack() as stack:
        publisher = stack.enter_context(open_publisher(settings.bus))
        # It needs Kafka's client, and whether that is installed is known by now.
        from pipeline.bus.kafka.consumer import KafkaRecords
        from pipeline.live.store_consumer import StoreConsumer

        url, busy_s = resolve(settings.store.url), settings.store.busy_timeout_s
        engine = stack.enter_context(using_store(url, busy_s))
        writer = StoreWriter(engine, batch_rows=settings.store.batch_rows)
        feed = stack.enter_context(KafkaRecords(settings.bus, settings.store.batch_rows))
        stop = stack.enter_context(asked_to_stop())
        consumer = StoreConsumer(feed, publisher, writer)
        faults = FaultPrinter()

        def ended() -> bool:
            faults.update(consumer.fault)
            return stop()

        begun_s = time.monotonic()
        consumer.run(ended, until_idle_s)
        return {
            "events": consumer.events,
            "batches": consumer.batches,
            "dead": consumer.dead,
            "cut": consumer.cut + publisher.cut,
            "seconds": round(time.monotonic() - begun_s, 1),
        }
