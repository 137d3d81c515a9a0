"""`undercam run`: all cameras live, until told to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from pipeline.camera_states import CONNECTING, ENDED, FAILED, REFUSED, STOPPED
from pipeline.cli.longrun import catch_stop_signals
from pipeline.cli.options import AsJsonAtEnd, Config, Seconds
from pipeline.cli.output import ERRORS, data_folders, drop_unset, print_json, warn
from pipeline.cli.state import ControlNotice, state_folder
from pipeline.config import Settings, load, resolve
from pipeline.errors import InputError, ServiceError, StopRequested

if TYPE_CHECKING:
    from pipeline.live.engine import Engine, State

POLL_S = 0.5
NO_CAMERA = (
    "no camera to read: add one by `undercam cameras add NAME ADDRESS`, or enable one by "
    "`undercam cameras set NAME --enable`; waiting for one"
)
UNREAD = (FAILED, REFUSED)
AT_REST = (ENDED, STOPPED, *UNREAD)
"""States after which a file yields no more events."""
PARTS = frozenset({"metrics", "events", "store", "outbox"})
"""What has a line beside the cameras, by a name without a space."""


def run(
    config: Config = None,
    seconds: Seconds = 0.0,
    until_ended: Annotated[
        bool, Option("--until-ended", help="Stop when all files are read and their rows stored.")
    ] = False,
    dashboard: Annotated[bool, Option("--dashboard", help="Serve the dashboard too.")] = False,
    engine: Annotated[
        str,
        Option(
            help="`ray`: Ray actors; `local`: threads of this process. Default: cluster.engine."
        ),
    ] = "",
    address: Annotated[str, Option(help="Address of a Ray cluster; `local` starts Ray here.")] = "",
    as_json: AsJsonAtEnd = False,
) -> None:
    """Read every registered camera: faces become events, and events become rows.

    The cameras are those of the settings and of `undercam cameras`; changes take effect while it
    runs. With `bus.url` set, `undercam store` brings the events from the bus into the database; the
    local engine does that itself.
    """
    settings = load(config, **drop_unset({"cluster": {"engine": engine, "address": address}}))
    with state_folder(settings):
        state = _run_until_stopped(settings, seconds, until_ended, dashboard)
    if as_json:
        print_json(as_dict(state))
    if state.close_errors:
        for line in state.close_errors:
            say(line)
        cameras = ", ".join(sorted({line.partition(":")[0] for line in state.close_errors}))
        remedy = "see the messages above; free the disk"
        raise ServiceError("events were lost at the end", cameras, remedy)
    unread = [name for name, report in state.cameras.items() if report.state in UNREAD]
    if until_ended and unread:
        raise InputError(
            "not read to their end", ", ".join(sorted(unread)), "see the messages above"
        )


def _run_until_stopped(
    settings: Settings, seconds: float, until_ended: bool, dashboard: bool
) -> State:
    """The state at the end; an empty one where it was stopped before it had started."""
    is_seeded = _seed(settings)
    notice, control = ControlNotice(settings), settings.control
    if control.is_exposed:
        remedy = "set control.certificate, or control.host to 127.0.0.1"
        warn("the control interface is open to the network without TLS", control.host, remedy)
    from pipeline.live.engine import Job, Startup, State, start_engine

    job = Job(settings, tuple(data_folders()), is_seeded)
    try:
        with catch_stop_signals() as stop, ExitStack() as stack:
            if dashboard:
                stack.enter_context(_serve_dashboard(settings))
            startup = Startup(stop, settings.cluster.start_timeout_s, say)
            engine = stack.enter_context(start_engine(job, startup))
            stack.callback(notice.remove)  # before the engine closes
            until_s = time.monotonic() + seconds if seconds else math.inf
            watch(engine, lambda: stop() or time.monotonic() >= until_s, until_ended, notice)
            say("stopping: the last events are being delivered to bus or store")
    except StopRequested:
        say("stopped before it had started")
        return State()
    # Read after the block: closing brings the state up to date.
    return engine.last


def as_dict(state: State) -> dict[str, Any]:
    """The JSON object of `undercam run`."""
    relays = state.relays.values()
    counted = {
        name: sum(getattr(relay, name) for relay in relays)
        for name in ("sent", "waiting", "lost", "dead")
    }
    cameras = {
        camera: {"state": report.state, "reason": report.reason}
        for camera, report in sorted(state.cameras.items())
    }
    ok = not faults(state) and not any(r.state in UNREAD for r in state.cameras.values())
    return {
        "cameras": cameras,
        "events": counted,
        "deaths": state.deaths,
        "not_written": list(state.close_errors),
        "ok": ok,
    }


def faults(state: State) -> list[str]:
    """Everything that keeps events from becoming rows, each as one sentence."""
    outboxes = (report.trouble for report in state.cameras.values())
    found = (
        *(*outboxes, *_list_undelivered(state), state.store_fault),
        *(*_damage(state), state.trouble, *state.close_errors),
    )
    return sorted({fault for fault in found if fault})


def _list_undelivered(state: State) -> list[str]:
    """What keeps relays from delivering. One that finds another of our relays in its folder, as two
    nodes on one machine do, has nothing to deliver."""
    relays = state.relays.values()
    one_delivers = any(not relay.fault for relay in relays)
    faulty = (relay for relay in relays if relay.fault and not (relay.elsewhere and one_delivers))
    return sorted({relay.fault for relay in faulty})


def _damage(state: State) -> list[str]:
    """One sentence for each outbox that was set aside."""
    names = sorted(name for relay in state.relays.values() for name in relay.damaged)
    return [f"{name} is damaged and was set aside: its events are not delivered" for name in names]


def _seed(settings: Settings) -> bool:
    """Register the cameras of the settings; whether that was done."""
    from pipeline.store.engine import use_store
    from pipeline.store.registry import check_address, registered_cameras, seed_cameras

    for camera, wanted in settings.cameras.items():
        check_address(camera, wanted)
    try:
        with use_store(resolve(settings.store.url), settings.store.busy_timeout_s) as engine:
            seed_cameras(engine, settings.cameras)
            if not any(camera.enabled for camera in registered_cameras(engine).values()):
                say(NO_CAMERA)
        return True
    except ServiceError as error:
        say(f"{error}; cameras start when the database can tell that no other command reads them")
        return False


@contextmanager
def _serve_dashboard(settings: Settings) -> Iterator[None]:
    from dashboard.launch import serve

    with serve(settings, resolve(settings.store.url)) as server:
        say(f"dashboard: {server.url}")
        yield


def watch(
    engine: Engine, stop: Callable[[], bool], until_ended: bool, notice: ControlNotice
) -> None:
    """Print what changes, until `stop` says so, or every file has ended.

    The notice is kept up to date: a supervisor that is started again serves another interface.
    """
    shown: dict[str, str] = {}
    while not stop():
        state = engine.state()
        notice.update(state.control)
        _print_news(shown, _lines(state, shown))
        if until_ended and has_ended(state):
            return
        time.sleep(POLL_S)


def has_ended(state: State) -> bool:
    """Whether every file is read, and all its events have been delivered."""
    ended = bool(state.cameras) and all(r.state in AT_REST for r in state.cameras.values())
    waiting = any(relay.waiting for relay in state.relays.values())
    return ended and bool(state.relays) and not waiting and not _list_undelivered(state)


def _lines(state: State, shown: dict[str, str]) -> dict[str, str]:
    """What to print of each thing, by its name."""
    lines = {"metrics": state.metrics_url} if state.metrics_url else {}
    for camera, report in state.cameras.items():
        # A camera that is tried again connects every few seconds: its fault stays shown.
        if report.state == CONNECTING and not report.reason and camera in shown:
            lines[camera] = shown[camera]
            continue
        lines[camera] = ": ".join(filter(None, (report.state, report.reason, report.trouble)))
    for number, line in enumerate(state.close_errors, 1):
        lines[f"lost {number}"] = line
    if state.relays:
        lines["events"] = "; ".join(_list_undelivered(state)) or "being delivered"
    if state.store_fault or "store" in shown:
        lines["store"] = state.store_fault or "being written"
    if _damage(state):
        lines["outbox"] = "; ".join(_damage(state))
    lines["camera registry"] = state.trouble or "reachable"
    return lines


def _print_news(shown: dict[str, str], lines: dict[str, str]) -> None:
    for name, line in sorted(lines.items()):
        if shown.get(name) != line:
            say(f"{name}: {line}")
    # No camera's name has a space.
    gone = {name for name in shown.keys() - lines.keys() - PARTS if " " not in name}
    for name in sorted(gone):
        say(f"{name}: no longer read")
    shown.clear()
    shown.update(lines)


def say(line: str) -> None:
    """Print one line with the time on stderr."""
    ERRORS.print(f"{time.strftime('%H:%M:%S')} {line}")
