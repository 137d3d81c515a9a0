"""Everything together: what `undercam run` starts, watches and ends."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayError

from pipeline.config import Settings
from pipeline.errors import ServiceError, UndercamError
from pipeline.runners.ray.actors import LASTING, SUPERVISOR, start_pool
from pipeline.runners.ray.engine import engine
from pipeline.runners.ray.supervising import State, SupervisorOf

START_S, GONE_S, DRAIN_S = 120.0, 30.0, 10.0
"""A pool may take so long to load its weights; a supervisor so long to come back; outboxes so long
to be emptied at the end."""
TOLD_S = 1.5
"""After so long, what a supervisor says of outboxes is news."""


class Running:
    """What runs, by its supervisor."""

    def __init__(self, supervisor: ActorHandle) -> None:
        self._supervisor = supervisor
        self.last = State()
        self._heard_s = time.monotonic()

    def state(self) -> State:
        """How everything fares; the last that was heard while the supervisor comes back.

        Raises ServiceError when it does not.
        """
        try:
            self.last = ray.get(self._supervisor.state.remote(), timeout=2.0)
            self._heard_s = time.monotonic()
        except (GetTimeoutError, RayError) as error:
            if time.monotonic() - self._heard_s > GONE_S:
                reason = str(error).splitlines()[0]
                raise ServiceError(
                    "Ray has ended", "supervisor", f"start again ({reason})"
                ) from error
        return self.last

    def close(self) -> None:
        """Stop all cameras, and wait a little until bus or store has what they said last."""
        with suppress(GetTimeoutError, RayError):
            ray.get(self._supervisor.close.remote(), timeout=GONE_S)
            until_s = time.monotonic() + DRAIN_S
            time.sleep(TOLD_S)
            while time.monotonic() < until_s and self._drains():
                time.sleep(0.1)

    def _drains(self) -> bool:
        """Whether some outbox still has events that somebody takes."""
        return any(relay.waiting and not relay.fault for relay in self.state().relays.values())


@contextmanager
def running(
    settings: Settings, folders: Sequence[Path] = (), is_seeded: bool = False
) -> Iterator[Running]:
    """Ray, pool, supervisor and all that it starts; at the end of the block all of it ends.

    `folders` are searched for networks that are not bundled; `is_seeded` says that the roster knows
    the cameras of the settings. Raises ServiceError where there is no
    Ray, ModelError for weights that cannot serve, before any camera is read.
    """
    with engine(settings.cluster.address):
        _begin_pool(settings)
        supervisor = SupervisorOf.options(name=SUPERVISOR, num_cpus=0, **LASTING)
        all_of_it = Running(supervisor.remote(settings, list(folders), is_seeded))
        try:
            yield all_of_it
        finally:
            all_of_it.close()
            _end()


def _begin_pool(settings: Settings) -> None:
    """Weights are tried once before anything relies on them."""
    for name, pool in start_pool(settings).items():
        try:
            ray.get(pool.by.remote(), timeout=START_S)
        except (RayError, GetTimeoutError) as error:
            # An actor whose beginning failed carries what was raised there.
            cause = getattr(error.args[0] if error.args else error, "cause", error)
            if isinstance(cause, UndercamError):
                raise cause from None
            reason = str(cause).splitlines()[0]
            raise ServiceError("the emotion pool does not start", name, reason) from error


def _end() -> None:
    """Named actors outlive their cluster's visitors: end ours."""
    for name in ray.util.list_named_actors():
        with suppress(ValueError):
            ray.kill(ray.get_actor(name))
