"""Everything together: what `undercam run` starts, watches and ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayError

from pipeline.emotion_settings import check_gpus
from pipeline.errors import ServiceError, UndercamError
from pipeline.live.ray.actors import LASTING, SUPERVISOR, start_pools
from pipeline.live.ray.causes import cause_of
from pipeline.live.ray.engine import engine
from pipeline.live.ray.environment import LOCAL
from pipeline.live.ray.health import RayHealth
from pipeline.live.ray.job import Job
from pipeline.live.ray.startup import Startup
from pipeline.live.ray.supervisor_actor import SupervisorOf
from pipeline.live.state import State

GONE_S, ANSWER_S = 30.0, 1.5
"""A supervisor may take so long to come back, and to answer while it is there."""
CLOSE_S, STOP_S, END_S = 4.5, 6.5, 5.0
"""Cameras may take so long to close; they and the emptying of the outboxes together; and the actors
on a cluster to end. A service manager that asks for an end waits ten seconds, and what was appended
to an outbox by then is not lost: the next run delivers it."""
ATTENDED_S = 5.0
"""A supervisor that nobody asked for so long has lost the command that began it."""
TOLD_S = 1.5
"""After so long, what a supervisor says of outboxes is news."""


class Deployment:
    """What runs, by its supervisor."""

    def __init__(self, supervisor: ActorHandle, vitals: RayHealth) -> None:
        self._supervisor, self._vitals = supervisor, vitals
        self.last = State()
        self._heard_s = time.monotonic()

    def state(self) -> State:
        """How everything fares; the last that was heard while the supervisor comes back.

        Raises ServiceError when it does not, or when Ray has lost a part.
        """
        if part := self._vitals.gone():
            remedy = "start again: what waits in the outboxes is delivered then"
            raise ServiceError("Ray has ended", part, remedy)
        try:
            self.last = ray.get(self._supervisor.state.remote(), timeout=ANSWER_S)
            self._heard_s = time.monotonic()
        except (GetTimeoutError, RayError) as error:
            if time.monotonic() - self._heard_s > GONE_S:
                reason = str(error).splitlines()[0]
                raise ServiceError(
                    "Ray has ended", "supervisor", f"start again ({reason})"
                ) from error
        return self.last

    def close(self) -> None:
        """Stop all cameras, and wait a little until bus or store has what they said last.

        Actors reach each other without Ray's other parts, so this is tried without them too.
        """
        until_s = time.monotonic() + STOP_S
        with suppress(GetTimeoutError, RayError, ServiceError):
            ray.get(self._supervisor.close.remote(), timeout=CLOSE_S)
            time.sleep(TOLD_S)
            while time.monotonic() < until_s and self._drains():
                time.sleep(0.1)

    def _drains(self) -> bool:
        """Whether some outbox still has events that somebody takes."""
        return any(relay.waiting and not relay.fault for relay in self.state().relays.values())


@contextmanager
def running(job: Job, beginning: Startup) -> Iterator[Deployment]:
    """Ray, pool, supervisor and all that it starts; at the end of the block all of it ends.

    What a command that was killed left behind on the cluster is taken up, or ended where its
    settings were others. Raises ServiceError where there is no Ray, or a command at work there;
    ModelError for weights that cannot serve, before any camera is read; StopRequested.
    """
    cluster = job.settings.cluster
    check_gpus(job.settings.emotion)
    with ExitStack() as stack:
        joined = engine(cluster.address, cluster.namespace, beginning, cluster.lost_timeout_s)
        vitals = stack.enter_context(joined)
        if cluster.address != LOCAL:
            _clear(job, vitals)
            stack.callback(_end, vitals)
        for name, pool in start_pools(job).items():
            # Weights are tried once before anything relies on them.
            _begin(pool.names.remote(), f"the classifier pool's {name}", beginning)
        options = SupervisorOf.options(name=SUPERVISOR, num_cpus=0, **LASTING)
        supervisor = options.remote(job)
        all_of_it = Deployment(supervisor, vitals)
        _begin(supervisor.state.remote(), "the supervisor", beginning)
        stack.callback(all_of_it.close)
        yield all_of_it


def _clear(job: Job, vitals: RayHealth) -> None:
    """Two jobs under the same names would take each other's actors for their own."""
    try:
        supervisor = ray.get_actor(SUPERVISOR)
        other = _left_behind(supervisor, job)
    except (ValueError, GetTimeoutError, RayError):  # nobody of that name, or nobody in there
        _end(vitals)
        return
    if not job.is_like(other):
        Deployment(supervisor, vitals).close()
        _end(vitals)


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


def _begin(answer: ray.ObjectRef[Any], who: str, beginning: Startup) -> None:
    """Wait for an actor's first answer; raises what kept it from beginning."""
    try:
        beginning.answer(answer, who)
    except (RayError, GetTimeoutError) as error:
        cause = cause_of(error)
        if isinstance(cause, UndercamError):
            raise cause from None
        reason = str(cause).splitlines()[0]
        raise ServiceError(f"{who} does not start", "Ray", reason) from error


def _end(vitals: RayHealth) -> None:
    """Named actors outlive their cluster's visitors: end ours, until their names are free."""
    until_s = time.monotonic() + END_S
    while not vitals.gone() and time.monotonic() < until_s:
        names = ray.util.list_named_actors()
        if not names:
            return
        for name in names:
            with suppress(ValueError):
                ray.kill(ray.get_actor(name))
        time.sleep(0.1)
