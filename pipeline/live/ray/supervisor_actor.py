"""The supervisor as an actor: it keeps all others running, and knows the state of everything."""

from __future__ import annotations

import os
import sys
import time
import traceback

import ray

from pipeline.live.engine import Job, State
from pipeline.live.ray.actors import start_pools
from pipeline.live.ray.fleet import RayFleet, collect_families
from pipeline.live.ray.relays import RayRelays
from pipeline.live.supervisor_service import SupervisorService


class SupervisorActor:
    """Steps for as long as its process lives; Ray starts it again when it dies."""

    def __init__(self, job: Job) -> None:
        job.enter_home("store", "discovery")
        self._job = job
        self._last_request_s = time.monotonic()
        pools = start_pools(job)
        self._service = SupervisorService(
            *(job, RayFleet(job), RayRelays(job)),
            *(lambda: collect_families(pools), _end_process),
            machine_address=ray.util.get_node_ip_address(),
        )
        self._service.start()

    def job(self) -> tuple[Job, float]:
        """What it was given to run; and how many seconds ago its state was last asked for."""
        return self._job, time.monotonic() - self._last_request_s

    def state(self) -> State:
        """The state of everything at the last step."""
        self._last_request_s = time.monotonic()
        return self._service.state()

    def close(self) -> None:
        """Stop all cameras, for good; their last events are in their outboxes then."""
        self._service.close_cameras()


def _end_process(error: Exception) -> None:
    """Ray starts the process again, and the next supervisor recovers its state from the fleet."""
    traceback.print_exception(error, file=sys.stderr)
    os._exit(1)


SupervisorOf = ray.remote(SupervisorActor)
