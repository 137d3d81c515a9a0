"""`undercam run`: all cameras live, until told to stop."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from pipeline.camera_states import CONNECTING, ENDED, FAILED, REFUSED, STOPPED
from pipeline.cli.longrun import asked_to_stop
from pipeline.cli.options import MOST_SECONDS
from pipeline.cli.output import ERRORS, data_folders, drop_unset, print_json
from pipeline.cli.state import state_folder
from pipeline.config import Settings, load, resolve
from pipeline.errors import InputError, ServiceError, StopRequested

if TYPE_CHECKING:
    from pipeline.live.ray.deployment import Deployment
    from pipeline.live.state import State

LOOK_S = 0.5
NO_CAMERA = (
    "no camera to read: add one by `undercam cameras add NAME ADDRESS`, or enable one by "
    "`undercam cameras set NAME --enable`; waiting for it"
)
UNREAD = (FAILED, REFUSED)
AT_REST = (ENDED, STOPPED, *UNREAD)
"""States after which nothing more comes of a file."""


def run(
    config: Annotated[Path | None, Option("-c", "--config", help="A TOML file.")] = None,
    seconds: Annotated[
        float, Option(help="How long; 0: until Ctrl-C.", min=0, max=MOST_SECONDS)
    ] = 0.0,
    until_ended: Annotated[
        bool, Option("--until-ended", help="Stop when every file is read and its rows are stored.")
    ] = False,
    dashboard: Annotated[bool, Option("--dashboard", help="Serve the pages too.")] = False,
    address: Annotated[str, Option(help="Of a Ray cluster; `local` starts one here.")] = "",
    as_json: Annotated[bool, Option("--json", help="Print one JSON object at the end.")] = False,
) -> None:
    """Read every camera of the roster: faces become events, and events become rows.

    The cameras are those of the settings and of `undercam cameras`, which may change meanwhile.
    With `bus.url` set, `undercam store` brings the events from there into the database.
    """
    settings = load(config, **drop_unset({"cluster": {"address": address}}))
    with state_folder(settings):
        state = _run_until_stopped(settings, seconds, until_ended, dashboard)
    if as_json:
        print_json(as_dict(state))
    if state.close_errors:
        for line in state.close_errors:
            _say(line)
        cameras = ", ".join(sorted({line.partition(":")[0] for line in state.close_errors}))
        remedy = "see what was said; free the disk"
        raise ServiceError("events were lost at the end", cameras, remedy)
    unread = [name for name, report in state.cameras.items() if report.state in UNREAD]
    if until_ended and unread:
        raise InputError("not read to their end", ", ".join(sorted(unread)), "see what was said")


def _run_until_stopped(
    settings: Settings, seconds: float, until_ended: bool, dashboard: bool
) -> State:
    """How everything fared at the end; of a run that was stopped before it had begun, nothing."""
    is_seeded = _seed(settings)
    from pipeline.live.state import State

    try:
        with asked_to_stop() as stop:
            return _run(settings, is_seeded, dashboard, stop, seconds, until_ended)
    except StopRequested:
        _say("stopped before it had begun")
        return State()


def _run(
    settings: Settings,
    is_seeded: bool,
    dashboard: bool,
    stop: Callable[[], bool],
    seconds: float,
    until_ended: bool,
) -> State:
    """Everything, from its start to its end; how it all fared last."""
    from pipeline.live.ray.environment import prepare

    prepare(settings.cluster.address)
    from pipeline.live.ray.deployment import running
    from pipeline.live.ray.job import Job
    from pipeline.live.ray.startup import Startup

    job = Job(settings, tuple(data_folders()), is_seeded)
    with ExitStack() as stack:
        # Whatever Ray tells its user, pages of a dead part's log among it, it prints there.
        nowhere = stack.enter_context(Path(os.devnull).open("w"))
        stack.enter_context(redirect_stdout(nowhere))
        if dashboard:
            stack.enter_context(_pages(settings))
        beginning = Startup(stop, settings.cluster.start_timeout_s, _say)
        everything = stack.enter_context(running(job, beginning))
        until_s = time.monotonic() + seconds if seconds else math.inf
        _watch(everything, lambda: stop() or time.monotonic() >= until_s, until_ended)
        _say("stopping: what was seen goes to bus or store first")
    return everything.last


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
    """Everything that keeps events from their rows, each as one sentence."""
    outboxes = (report.trouble for report in state.cameras.values())
    found = (*outboxes, *_undelivered(state), *_damage(state), state.trouble, *state.close_errors)
    return sorted({fault for fault in found if fault})


def _undelivered(state: State) -> list[str]:
    """What keeps relays from delivering. One that finds another of ours in its folder, as two nodes
    on one machine do, has nothing to deliver."""
    relays = state.relays.values()
    one_is_well = any(not relay.fault for relay in relays)
    faulty = (relay for relay in relays if relay.fault and not (relay.elsewhere and one_is_well))
    return sorted({relay.fault for relay in faulty})


def _damage(state: State) -> list[str]:
    """Of each outbox that was set aside, what became of it."""
    names = sorted(name for relay in state.relays.values() for name in relay.damaged)
    return [f"{name} is damaged and was set aside: its events are not delivered" for name in names]


def _seed(settings: Settings) -> bool:
    """Whether the roster knows the cameras of the settings now."""
    from pipeline.store.engine import use_store
    from pipeline.store.registry import check_address, registered_cameras, seed_cameras

    for camera, wanted in settings.cameras.items():
        check_address(camera, wanted)
    try:
        with use_store(resolve(settings.store.url), settings.store.busy_timeout_s) as engine:
            seed_cameras(engine, settings.cameras)
            if not any(camera.enabled for camera in registered_cameras(engine).values()):
                _say(NO_CAMERA)
        return True
    except ServiceError as error:
        _say(f"{error}; a camera begins when the database has told that nobody else reads it")
        return False


@contextmanager
def _pages(settings: Settings) -> Iterator[None]:
    from dashboard.launch import serve

    with serve(settings, resolve(settings.store.url)) as server:
        _say(f"dashboard: at {server.url}")
        yield


def _watch(everything: Deployment, stop: Callable[[], bool], until_ended: bool) -> None:
    """Say what changes, until it is time."""
    said: dict[str, str] = {}
    while not stop():
        state = everything.state()
        _say_news(said, _lines(state, said))
        if until_ended and has_ended(state):
            return
        time.sleep(LOOK_S)


def has_ended(state: State) -> bool:
    """Whether every file is at rest, and all that was seen in it has arrived."""
    ended = bool(state.cameras) and all(r.state in AT_REST for r in state.cameras.values())
    waiting = any(relay.waiting for relay in state.relays.values())
    return ended and bool(state.relays) and not waiting and not _undelivered(state)


def _lines(state: State, said: dict[str, str]) -> dict[str, str]:
    """What to say of each thing, by its name; of a camera that is tried again, what was said."""
    lines = {"metrics": f"at {state.metrics_url}"} if state.metrics_url else {}
    for camera, report in state.cameras.items():
        if report.state == CONNECTING and not report.reason and camera in said:
            lines[camera] = said[camera]
            continue
        lines[camera] = ": ".join(filter(None, (report.state, report.reason, report.trouble)))
    for number, line in enumerate(state.close_errors, 1):
        lines[f"lost {number}"] = line
    if state.relays:
        lines["events"] = "; ".join(_undelivered(state)) or "on their way"
    if _damage(state):
        lines["outbox"] = "; ".join(_damage(state))
    lines["roster"] = state.trouble or "read"
    return lines


def _say_news(said: dict[str, str], lines: dict[str, str]) -> None:
    for name, line in sorted(lines.items()):
        if said.get(name) != line:
            _say(f"{name}: {line}")
    for name in said.keys() - lines.keys():
        _say(f"{name}: no longer read")
    said.clear()
    said.update(lines)


def _say(line: str) -> None:
    ERRORS.print(f"{time.strftime('%H:%M:%S')} {line}")
