"""What an engine is given, what it tells, and how one is started: here, or under Ray."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pipeline.config import Settings
from pipeline.control_client import ControlAddress
from pipeline.errors import ServiceError, StopRequested
from pipeline.holder import Holder
from pipeline.live.leases import Report
from pipeline.live.relay_service import RelayReport
from pipeline.local_paths import check_paths, paths_of, paths_of_camera
from pipeline.settings import CameraSettings

CLOSE_S, STOP_S = 4.5, 6.5
"""Seconds in which the cameras must close; and in which they close and the outboxes are emptied. A
service manager waits ten seconds before it kills; what is still in an outbox then is not lost, the
next run delivers it."""
POLL_S, REPORT_S = 0.2, 15.0
"""Seconds between two looks at a part that starts, and between two lines about it."""


@dataclass(frozen=True)
class Job:
    """What one command wants to run; under Ray every actor is given all of it.

    `folders` are searched for networks that are not bundled. `cameras`: exactly these are read;
    None: those of the registry, of which `is_seeded` says that it knows the cameras of the
    settings. Relative paths are relative to `home`. `holder` is the command, `node` what Ray calls
    the machine that it runs on.
    """

    settings: Settings
    folders: tuple[Path, ...] = ()
    is_seeded: bool = False
    cameras: Mapping[str, CameraSettings] | None = None
    home: Path = field(default_factory=Path.cwd)
    holder: Holder = field(default_factory=Holder.here)
    node: str = ""

    def enter_home(self, *parts: str) -> None:
        """Change to `home`; these parts of the settings are what is used here.

        Raises ConfigError where this machine has no such folder, and one of their paths is relative
        to it: what we write would lie somewhere else, unnoticed.
        """
        try:
            os.chdir(self.home)
        except OSError:
            check_paths(paths_of(self.settings, *parts), self.home)

    def check_camera(self, camera: CameraSettings) -> None:
        """Raise ConfigError for a file whose path is relative to a `home` that is not here."""
        if not self.home.is_dir():
            check_paths(paths_of_camera(camera), self.home)

    def is_like(self, other: Job) -> bool:
        """Whether one may take over what the other has started."""
        return (self.settings, self.home) == (other.settings, other.home)


@dataclass(frozen=True)
class Startup:
    """`stop` says whether the command is to end; `start_s`: seconds that each part may take to
    start; `say` tells a person what is being waited for."""

    stop: Callable[[], bool] = lambda: False
    start_s: float = 600.0
    say: Callable[[str], None] = lambda line: None

    def wait(self, is_ready: Callable[[float], bool], what: str) -> None:
        """Wait until `is_ready`, which may itself wait for the number of seconds it is given.

        Raises StopRequested; ServiceError after `start_s`.
        """
        started_s = reported_s = time.monotonic()
        while not is_ready(POLL_S):
            now = time.monotonic()
            if self.stop():
                raise StopRequested
            if now - started_s > self.start_s:
                raise ServiceError(
                    f"{what} did not start within {self.start_s:g} s",
                    "engine",
                    "see what occupies this machine's cores, or raise cluster.start_timeout_s",
                )
            if now - reported_s > REPORT_S:
                reported_s = now
                self.say(f"waiting for {what} to start, for {now - started_s:.0f} s so far")
        if self.stop():
            raise StopRequested


@dataclass(frozen=True)
class State:
    """The state of everything that runs, by name: the last report of each camera and relay.

    `trouble`: why the camera registry cannot be read; `store_fault`: why events stay on the bus,
    where this engine brings them into the database; both "" while all is well. `deaths` counts
    camera processes that died; `close_errors`: what was lost when outboxes were closed.
    """

    cameras: Mapping[str, Report] = field(default_factory=dict)
    relays: Mapping[str, RelayReport] = field(default_factory=dict)
    trouble: str = ""
    metrics_url: str = ""
    deaths: int = 0
    close_errors: tuple[str, ...] = ()
    store_fault: str = ""
    control: ControlAddress = field(default_factory=ControlAddress)


class Engine(Protocol):
    """Cameras, classifier pool, relay and supervisor at work; `last` is the last known state."""

    last: State

    def state(self) -> State:
        """The state now; raises ServiceError when a part that cannot be replaced has ended."""
        ...


@contextmanager
def start_engine(job: Job, startup: Startup) -> Iterator[Engine]:
    """The engine that `cluster.engine` names, started; it is closed at the end of the block.

    Raises ServiceError where it cannot start, ModelError for weights that cannot serve, before any
    camera is read; StopRequested.
    """
    cluster = job.settings.cluster
    if cluster.engine == "local":
        from pipeline.live.local_engine import LocalEngine

        with LocalEngine(job, startup) as local:
            yield local
        return
    from pipeline.live.ray.environment import prepare

    # Ray reads its environment when it is imported, so this order must stay.
    prepare(cluster.address)
    from pipeline.live.ray.ray_engine import start_ray_engine

    with ExitStack() as stack:
        # Ray prints to stdout, pages of a dead actor's log among it; ours is one JSON object.
        null = stack.enter_context(Path(os.devnull).open("w"))
        stack.enter_context(redirect_stdout(null))
        yield stack.enter_context(start_ray_engine(job, startup))
