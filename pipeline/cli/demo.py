"""`undercam demo`: a camera, the whole pipeline, a database and the dashboard, with no setup."""

from __future__ import annotations

import math
import time
import webbrowser
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from pipeline.camera_states import CONNECTING, FAILED, REFUSED
from pipeline.cli.longrun import catch_stop_signals
from pipeline.cli.options import Config, Seconds
from pipeline.cli.output import ERRORS, data_folders, print_json
from pipeline.cli.state import SAMPLE, close_to_others, state_folder
from pipeline.config import Settings, load, resolve
from pipeline.errors import InputError, StopRequested
from pipeline.permissions import FILE, make_folder
from pipeline.redact import redact
from pipeline.settings import CameraSettings

if TYPE_CHECKING:
    from pipeline.live.engine import Engine

CAMERA = "sample"
ANALYSE_FPS = 5.0
POLL_S = 0.1


def demo(
    seconds: Seconds = 0.0,
    headless: Annotated[bool, Option("--headless", help="Open no browser window.")] = False,
    config: Config = None,
    port: Annotated[
        int, Option(help="Port of the dashboard; 0: a free one.", min=0, max=65535)
    ] = 0,
) -> None:
    """Play real faces through the whole pipeline and watch them on the dashboard.

    A sample clip plays as a live camera, in this process: the same workers, classifier pool, outbox
    and relay as in `undercam run`. The clip is made from photographs inside the installed packages.
    The last line is one JSON object.
    """
    from dashboard.launch import serve
    from pipeline.store.engine import use_store
    from pipeline.store.queries.runs import run_totals

    settings = load(
        config,
        source={"analyse_fps": ANALYSE_FPS},
        dashboard={"port": port},
        cluster={"engine": "local"},
    )
    url = resolve(settings.store.url)
    with ExitStack() as stack:
        stack.enter_context(state_folder(settings))
        _make_sample(SAMPLE)
        store = stack.enter_context(use_store(url, settings.store.busy_timeout_s))
        server = stack.enter_context(serve(settings, url))
        until = f"for {seconds:g} s" if seconds else "until Ctrl-C"
        ERRORS.print(f"dashboard at {server.url}, {until}")
        if not headless:
            webbrowser.open(server.url)
        runs = _play(settings, SAMPLE, seconds)
        # Counted where they were to arrive: in the database, when the pipeline has ended.
        totals = run_totals(store, CAMERA, runs)
        print_json(
            {
                "dashboard": server.url,
                "database": redact(url.removeprefix("sqlite:///")),
                "tracks": totals.tracks,
                "observations": totals.observations,
                "shed": dict(totals.shed),
                "ok": totals.observations > 0 and server.is_running,
            }
        )


def _make_sample(clip: Path) -> None:
    if clip.exists():
        return
    from pipeline.media.sample_clip import write_sample

    ERRORS.print("making the sample clip from photographs in the installed packages")
    make_folder(clip.parent)
    # Under its own name only when it is whole: the next demo plays whatever is there.
    unfinished = clip.with_stem(f"{clip.stem}.unfinished")
    try:
        write_sample(unfinished)
        unfinished.chmod(FILE)
        unfinished.replace(clip)
    finally:
        unfinished.unlink(missing_ok=True)
    close_to_others([clip])


def _play(settings: Settings, clip: Path, seconds: float) -> set[str]:
    """Play the clip in a loop, in the local engine; returns the runs that it became.

    `seconds` count from the first frame; 0: until the command is stopped.
    """
    from pipeline.live.engine import Job, Startup, start_engine

    cameras = {CAMERA: CameraSettings(url=str(clip), play="loop")}
    # Exactly this camera: the registry, and whatever is registered there, is left alone.
    job = Job(settings, tuple(data_folders()), cameras=cameras)
    runs: set[str] = set()
    try:
        with catch_stop_signals() as stop:
            startup = Startup(stop, settings.cluster.start_timeout_s, ERRORS.print)
            with start_engine(job, startup) as engine:
                _watch(engine, stop, seconds or math.inf, runs, clip)
    except StopRequested:
        ERRORS.print("stopped before it had started")
    return runs


def _watch(
    engine: Engine, stop: Callable[[], bool], seconds: float, runs: set[str], clip: Path
) -> None:
    """Collect the runs of the camera, and print its faults, until it is time.

    Raises InputError where the clip cannot be played at all.
    """
    until_s = math.inf
    shown = ""
    while not stop() and time.monotonic() < until_s:
        state = engine.state()
        if report := state.cameras.get(CAMERA):
            runs.add(report.lease.run)
            if report.state in (FAILED, REFUSED) and until_s == math.inf:
                remedy = f"{report.reason}; or delete it: it is made again"
                raise InputError("the sample clip cannot be played", str(clip), remedy)
            is_playing = report.state not in (CONNECTING, FAILED, REFUSED)
            if is_playing and until_s == math.inf:
                until_s = time.monotonic() + seconds
            relays = state.relays.values() if is_playing else ()
            faults = (report.reason, report.trouble, *(relay.fault for relay in relays))
            if (fault := next(filter(None, faults), "")) != shown:
                shown = fault
                if fault:
                    ERRORS.print(f"{CAMERA}: {report.state}: {fault}")
        time.sleep(POLL_S)
