"""Everything together: what `undercam run` starts, watches and ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayError

from pipeline.errors import ServiceError, UndercamError
from pipeline.runners.ray.actors import LASTING, SUPERVISOR, start_pool
from pipeline.runners.ray.causes import cause_of
from pipeline.runners.ray.engine import engine
from pipeline.runners.ray.job import Job
from pipeline.runners.ray.supervising import SupervisorOf
from pipeline.runners.stream.state import State

START_S, GONE_S, DRAIN_S = 120.0, 30.0, 10.0
"""A pool may take so long to load its weights; a supervisor so long to come back; outboxes so long
to be emptied at the end."""
ATTENDED_S = 5.0
"""A supervisor that nobody asked for so long has lost the command that began it."""
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
def running(job: Job) -> Iterator[Running]:
    """Ray, pool, supervisor and all that it starts; at the end of the block all of it ends.

    What a command that was killed left behind on the cluster is taken up, or ended where its
    settings were others. Raises ServiceError where there is no Ray, or a command at work there;
    ModelError for weights that cannot serve, before any camera is read.
    """
    cluster = job.settings.cluster
    with engine(cluster.address, cluster.namespace):
        _clear(job)
        with ExitStack() as stack:
            stack.callback(_end)
            _begin_pool(job)
            options = SupervisorOf.options(name=SUPERVISOR, num_cpus=0, **LASTING)
            supervisor = options.remote(job)
            _begun(supervisor.state.remote(), "the supervisor")
            all_of_it = Running(supervisor)
            stack.callback(all_of_it.close)
            yield all_of_it


def _clear(job: Job) -> None:
    """Two jobs under the same names would take each other's actors for their own."""
    try:
        supervisor = ray.get_actor(SUPERVISOR)
        other = _left_behind(supervisor, job)
    except (ValueError, GetTimeoutError, RayError):  # nobody of that name, or nobody in there
        _end()
        return
    if not job.is_like(other):
        Running(supervisor).close()
        _end()


def _left_behind(supervisor: ActorHandle, job: Job) -> Job:
    """What a supervisor runs that nobody attends to; raises ServiceError where somebody does."""
    until_s = time.monotonic() + 2 * ATTENDED_S
    while time.monotonic() < until_s:
        other, unasked_s = ray.get(supervisor.job.remote(), timeout=GONE_S)
        if unasked_s >= ATTENDED_S:
            return other
        time.sleep(0.5)
    cluster = job.settings.cluster
    raise ServiceError(
        "another `undercam run` is at work there",
        f"{cluster.address}, namespace {cluster.namespace}",
        "stop it, or set cluster.namespace",
    )


def _begin_pool(job: Job) -> None:
    """Weights are tried once before anything relies on them."""
    for name, pool in start_pool(job).items():
        _begun(pool.by.remote(), f"the emotion pool's {name}")


def _begun(answer: ray.ObjectRef[Any], who: str) -> None:
    """Wait for an actor's first answer; raises what kept it from beginning."""
    try:
        ray.get(answer, timeout=START_S)
    except (RayError, GetTimeoutError) as error:
        cause = cause_of(error)
        if isinstance(cause, UndercamError):
            raise cause from None
        reason = str(cause).splitlines()[0]
        raise ServiceError(f"{who} does not start", "Ray", reason) from error


def _end() -> None:
    """Named actors outlive their cluster's visitors: end ours, until their names are free."""
    until_s = time.monotonic() + GONE_S
    while (names := ray.util.list_named_actors()) and time.monotonic() < until_s:
        for name in names:
            with suppress(ValueError):
                ray.kill(ray.get_actor(name))
        time.sleep(0.1)
