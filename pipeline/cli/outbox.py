"""`undercam outbox`: the events that wait on this machine, and how to send them by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from typer import Argument

from pipeline.cli.longrun import catch_stop_signals
from pipeline.cli.options import AsJson, Config
from pipeline.cli.output import OUT, print_json, warn
from pipeline.config import Settings, load, resolve
from pipeline.errors import UndercamError

if TYPE_CHECKING:
    from pipeline.bus.inspection import OutboxStatus
    from pipeline.bus.relay import Relay
    from pipeline.erasure import Erasure

outbox = typer.Typer(
    add_completion=False,
    rich_markup_mode="markdown",
    help="Events that wait on this machine's disk for bus or store.",
)
FOLDER = Argument(help="The folder. Default: outbox.folder.", show_default=False)


@outbox.command()
def status(
    folder: Annotated[Path | None, FOLDER] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show what waits, what was lost, and which runs are still being written."""
    from pipeline.bus.inspection import inspect_outboxes

    found = inspect_outboxes(folder or load(config).outbox.folder)
    if as_json:
        print_json(
            {
                "files": [asdict(one) for one in found],
                "waiting": sum(one.waiting for one in found),
                "lost": sum(one.lost for one in found),
            }
        )
    else:
        _show(found)


@outbox.command()
def drain(
    folder: Annotated[Path | None, FOLDER] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Send everything that waits to the bus, or into the database where no bus is set.

    For the disk of a machine that was lost, or while `undercam run` is not running. What was erased
    is deleted, not sent.
    """
    from pipeline.bus.inspection import inspect_outboxes
    from pipeline.bus.relay import Relay
    from pipeline.live.delivery import delivery

    settings = load(config)
    source = folder or Path(settings.outbox.folder)
    inspect_outboxes(source)
    with (
        delivery(settings) as deliver,
        Relay(source, deliver, settings.outbox.batch_rows) as relay,
        catch_stop_signals() as stop,
    ):
        relay.apply_erasures(_read_erasures(settings))
        _drain(relay, stop)
        counts = {
            "sent": relay.sent,
            "erased": relay.erased,
            "dead": relay.dead,
            "lost": relay.lost,
            "waiting": relay.waiting,
            "damaged": [str(path) for path in relay.damaged],
        }
    for path in relay.damaged:
        warn("outbox is damaged", str(path), "it was set aside; all others were sent")
    if as_json:
        print_json(counts)
    else:
        erased = f", deleted {relay.erased} that were erased" if relay.erased else ""
        OUT.print(f"sent {relay.sent} events and {relay.dead} dead letters{erased}")


def _read_erasures(settings: Settings) -> list[Erasure]:
    """None where the database cannot be reached from here: the store then drops what was erased."""
    from pipeline.store.engine import open_store
    from pipeline.store.erasures import read_erasures

    try:
        url, busy_s = resolve(settings.store.url), settings.store.busy_timeout_s
        engine = open_store(url, busy_s, read_only=True)
    except UndercamError:
        return []
    try:
        return read_erasures(engine)
    finally:
        engine.dispose()


def _drain(relay: Relay, stop: Callable[[], bool]) -> None:
    """Send until nothing waits; raises ServiceError when bus or store does not take it."""
    damaged = 0
    while not stop():
        if relay.step() or len(relay.damaged) > damaged:
            damaged = len(relay.damaged)
        elif relay.fault:
            raise relay.fault
        else:
            return


def _show(found: list[OutboxStatus]) -> None:
    table = Table("camera", "run", "waiting", "lost", "writer", "")
    for one in found:
        live = "alive" if one.live else "ended"
        table.add_row(one.camera, one.run, str(one.waiting), str(one.lost), live, one.fault)
    OUT.print(table if found else "no event is waiting")
