"""`undercam erase`: deletes a track, a camera's rows, or everything before a time, for ever."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from pipeline.cli.options import AsJson, Config
from pipeline.cli.output import OUT, print_json, warn
from pipeline.cli.state import connect_control
from pipeline.cli.times import parse_time
from pipeline.clock import wall_clock
from pipeline.config import Settings, load, resolve
from pipeline.erasure import Erasure, make_erasure
from pipeline.errors import ServiceError


def erase(
    track: Annotated[str, Option(help="One track: CAMERA/RUN/NUMBER, or its id.")] = "",
    camera: Annotated[str, Option(help="All of a camera, up to now or to --before.")] = "",
    before: Annotated[
        str,
        Option(help="Everything captured before a time, in ISO 8601 and UTC, or an age: 30d, 12h."),
    ] = "",
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Delete observations and tracks for ever: what is sent again later is not stored.

    In the database, in the outboxes of this machine and of every machine of a running `undercam
    run`. Topics of Kafka forget by themselves, after `bus.retention_hours`.
    """
    now_ms = wall_clock()
    before_ms = parse_time(before, now_ms, "--before") if before else None
    erasure = make_erasure(now_ms, track=track, camera=camera, before_ms=before_ms)
    settings = load(config)
    if client := connect_control(settings):
        counts, cameras = client.erase(erasure)
        outbox, is_running = 0, True
    else:
        counts, cameras = _erase_rows(settings, erasure)
        outbox, is_running = _erase_outboxes(settings)
    until_ms = now_ms + settings.bus.forget_ms if settings.bus.url else 0
    if counts["remains"]:
        warn("deleted rows may remain in the database's files", "store.url", counts["remains"])
    if erasure.camera and erasure.camera not in cameras:
        near = get_close_matches(erasure.camera, cameras, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else "see `undercam cameras list`"
        warn("no such camera so far", erasure.camera, f"its earlier records stay erased; {remedy}")
    if as_json:
        print_json(
            {
                **{key: value for key, value in asdict(erasure).items() if key != "run"},
                **counts,
                "outbox": {"events": outbox, "running": is_running},
                "kafka_until": _format(until_ms) if until_ms else None,
            }
        )
        return
    OUT.print(_describe(counts))
    if is_running:
        OUT.print("the running `undercam run` deletes it from its outboxes within seconds")
    else:
        OUT.print(f"erased {outbox} events that were waiting in {settings.outbox.folder}")
    if until_ms:
        OUT.print(
            f"Kafka: its topics keep what was sent until {_format(until_ms)} at the latest "
            f"(bus.retention_hours = {settings.bus.retention_hours:g}); it is not stored again"
        )


def _describe(counts: dict[str, Any]) -> str:
    rows = "{observations} observations and {tracks} tracks".format(**counts)
    more = "{minutes} minutes, {runs} runs, {dead_letters} dead letters".format(**counts)
    return f"erased {rows} for ever ({more})"


def _erase_rows(settings: Settings, erasure: Erasure) -> tuple[dict[str, Any], list[str]]:
    """The number of rows deleted by kind, and the cameras that the database knows."""
    from pipeline.store.engine import use_store
    from pipeline.store.erasures import erase as erase_for_ever
    from pipeline.store.erasures import read_cameras

    with use_store(resolve(settings.store.url), settings.store.busy_timeout_s) as engine:
        cameras = read_cameras(engine)
        return asdict(erase_for_ever(engine, erasure)), cameras


def _erase_outboxes(settings: Settings) -> tuple[int, bool]:
    """Number of events deleted from this machine's outboxes; and whether a relay is at work there,
    which is told by its supervisor."""
    from pipeline.bus.relay import DrainedElsewhere, Relay
    from pipeline.store.engine import use_store
    from pipeline.store.erasures import read_erasures

    folder = Path(settings.outbox.folder)
    if not folder.is_dir():
        return 0, False
    with use_store(resolve(settings.store.url), settings.store.busy_timeout_s) as engine:
        erasures = read_erasures(engine)
    try:
        # No step is made, so nothing is delivered.
        with Relay(folder, lambda _: None) as relay:
            relay.apply_erasures(erasures)
            if relay.fault:
                raise relay.fault
            return relay.erased, False
    except DrainedElsewhere:
        return 0, True
    except OSError as error:
        reason = error.strerror or str(error)
        raise ServiceError("outbox cannot be changed", str(folder), reason) from error


def _format(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
