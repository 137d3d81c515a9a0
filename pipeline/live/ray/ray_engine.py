"""The engine under Ray: what `undercam run` starts, watches and ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayError

from pipeline.emotion_settings import check_gpus
from pipeline.errors import ServiceError, UndercamError
from pipeline.live.engine import CLOSE_S, POLL_S, STOP_S, Job, Startup, State
from pipeline.live.ray.actors import LASTING, SUPERVISOR, start_pools
from pipeline.live.ray.connection import connect_ray
from pipeline.live.ray.environment import LOCAL
from pipeline.live.ray.fleet import cause_of
from pipeline.live.ray.health import RayHealth
from pipeline.live.ray.nodes import check_database, first_on, is_alone, only_on
from pipeline.live.ray.supervisor_actor import SupervisorOf
from pipeline.live.supervisor_service import wait_until_delivered

GONE_S, ANSWER_S = 30.0, 1.5
"""Seconds that a supervisor may take to come back, and to answer while it is there."""
END_S = 5.0
"""Seconds that the actors on a cluster may take to end."""
ATTENDED_S = 5.0
"""A supervisor whose state nobody has asked for so long has lost the command that started it."""
FRESH_S = 1.5
"""After so many seconds the supervisor has heard from every relay again."""


class RayEngine:
    """Everything that runs under Ray, seen through its supervisor."""

    def __init__(self, supervisor: ActorHandle, health: RayHealth) -> None:
        self._supervisor, self._health = supervisor, health
        self.last = State()
        self._answered_s = time.monotonic()

    def state(self) -> State:
        """The state of everything; the last one known while the supervisor is being restarted.

        Raises ServiceError when it does not come back, or when a part of Ray has ended.
        """
        if part := self._health.find_lost_part():
            remedy = "start again: what waits in the outboxes is delivered then"
            raise ServiceError("Ray has ended", part, remedy)
        try:
            self.last = ray.get(self._supervisor.state.remote(), timeout=ANSWER_S)
            self._answered_s = time.monotonic()
        except (GetTimeoutError, RayError) as error:
            if time.monotonic() - self._answered_s > GONE_S:
                reason = str(error).splitlines()[0]
                raise ServiceError(
                    "Ray has ended", "supervisor", f"start again ({reason})"
                ) from error
        return self.last

    def close(self) -> None:
        """Stop all cameras, and wait a little until bus or store has their last events.

        Actors reach each other without Ray's other parts, so this is tried without them too.
        """
        until_s = time.monotonic() + STOP_S
        with suppress(GetTimeoutError, RayError, ServiceError):
            # Cameras first, then the relays: what a camera appends last is still to be delivered.
            ray.get(self._supervisor.close.remote(), timeout=CLOSE_S)
            time.sleep(FRESH_S)
            wait_until_delivered(self.state, until_s)


@contextmanager
def start_ray_engine(job: Job, startup: Startup) -> Iterator[RayEngine]:
    """Ray, pool, supervisor and all that it starts; at the end of the block all of it ends.

    What a killed command left behind on the cluster is taken over, or ended where its settings
    were others. Raises ServiceError where there is no Ray, or where another command is at work;
    ModelError for weights that cannot serve, before any camera is read; StopRequested.
    """
    cluster = job.settings.cluster
    check_gpus(job.settings.emotion)
    with ExitStack() as stack:
        ray_here = connect_ray(cluster.address, cluster.namespace, startup, cluster.lost_timeout_s)
        health = stack.enter_context(ray_here)
        job = replace(job, node=ray.get_runtime_context().get_node_id())
        check_database(job.settings)
        if cluster.address != LOCAL:
            _clear(job, health)
            stack.callback(_end, health)
        for name, pool in start_pools(job).items():
            # Weights are tried once before anything relies on them.
            _first_answer(pool.names.remote(), f"the classifier pool's {name}", startup)
        # Beside the command, and elsewhere only when that machine is lost: its metrics keep their
        # address, and it outlives the machines whose runs it remembers.
        here = only_on(job.node) if is_alone(job.settings) else first_on(job.node)
        options = {**LASTING, "num_cpus": 0, **here}
        supervisor = SupervisorOf.options(name=SUPERVISOR, **options).remote(job)
        engine = RayEngine(supervisor, health)
        _first_answer(supervisor.state.remote(), "the supervisor", startup)
        # Closed before the actors are ended, and before Ray is left.
        stack.callback(engine.close)
        yield engine


def _clear(job: Job, health: RayHealth) -> None:
    """End what runs there already, unless it is this job's: two jobs under the same actors' names
    would take each other's for their own."""
    try:
        supervisor = ray.get_actor(SUPERVISOR)
        other = _left_behind(supervisor, job)
    except (ValueError, GetTimeoutError, RayError):  # no such actor, or it is dead
        _end(health)
        return
    if not job.is_like(other):
        RayEngine(supervisor, health).close()
        _end(health)


def _left_behind(supervisor: ActorHandle, job: Job) -> Job:
    """The job of a supervisor that no command asks for its state; raises ServiceError where one
    does."""
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


def _first_answer(answer: ray.ObjectRef[Any], who: str, startup: Startup) -> None:
    """Wait for an actor's first answer; raises what kept it from starting."""
    try:
        startup.wait(lambda within_s: bool(ray.wait([answer], timeout=within_s)[0]), who)
        ray.get(answer, timeout=POLL_S)
    except (RayError, GetTimeoutError) as error:
        cause = cause_of(error)
        if isinstance(cause, UndercamError):
            raise cause from None
        reason = str(cause).splitlines()[0]
        raise ServiceError(f"{who} does not start", "Ray", reason) from error


def _end(health: RayHealth) -> None:
    """End our named actors, which outlive the command, and wait until their names are free."""
    until_s = time.monotonic() + END_S
    while not health.find_lost_part() and time.monotonic() < until_s:
        names = ray.util.list_named_actors()
        if not names:
            return
        for name in names:
            with suppress(ValueError):
                ray.kill(ray.get_actor(name))
        time.sleep(0.1)
