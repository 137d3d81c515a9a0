"""The plain classes as actors, wrapped once. Named and detached: none dies with who started it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import ray
from ray.actor import ActorHandle

from pipeline.emotion_settings import ROBUST, EmotionSettings
from pipeline.erasure import Erasure
from pipeline.frames import ClassifyReply, ClassifyRequest, ScoredBy
from pipeline.live.camera_worker import CameraWorker
from pipeline.live.client import ClassifierClient
from pipeline.live.engine import Job
from pipeline.live.leases import Heartbeat, Lease, Report
from pipeline.live.ray.client import RayTransport
from pipeline.live.ray.nodes import place_replica
from pipeline.live.relay_service import RelayReport, RelayService
from pipeline.metrics import CameraMetrics, Families
from pipeline.references import is_recording

POOL, RELAY, SUPERVISOR = "classifier-", "relay-", "supervisor"
"""How the actors' names begin; those of camera processes: `pipeline.live.leases.CAMERAS`."""
LASTING: dict[str, Any] = {"lifetime": "detached", "max_restarts": -1, "get_if_exists": True}


ROBUST_NICE = 10
"""Operating-system priority of robust's replicas on a CPU: they give way to all others."""


class PoolActor:
    """A replica of a route's classifier pool."""

    def __init__(self, job: Job, route: str) -> None:
        # torch, here alone: whoever reads cameras does without.
        from pipeline.live.pool import ClassifierPool
        from pipeline.stages.classify import open_route

        job.enter_home(f"emotion.routes.{route}")
        settings = job.settings.emotion.routes.by_name()[route]
        if route == ROBUST and settings.device == "cpu":
            os.nice(ROBUST_NICE)
        classifier = open_route(settings)
        self._pool = ClassifierPool(classifier, settings)
        self._names = classifier.names()

    async def names(self) -> dict[str, ScoredBy]:
        """How the route's weights stand in events, by their name in the settings."""
        return self._names

    async def classify(self, request: ClassifyRequest) -> ClassifyReply:
        """See ClassifierPool."""
        return await self._pool.classify(request)

    async def families(self) -> Families:
        """What was counted so far."""
        return self._pool.metrics.families()


class CamerasActor:
    """A camera process."""

    def __init__(self, job: Job) -> None:
        job.enter_home("outbox", "detector", "source", "mqtt")
        settings = job.settings
        emotion, start_s = settings.emotion, settings.cluster.start_timeout_s
        replicas, transport = replica_names(emotion), RayTransport()

        def connect_classifier(lease: Lease, metrics: CameraMetrics) -> ClassifierClient:
            return ClassifierClient(
                *(transport, replicas, emotion.routes.by_name(), lease.camera),
                *(is_recording(lease.settings), metrics, start_s),
            )

        machine = ray.get_runtime_context().get_node_id()
        self._worker = CameraWorker(
            *(settings, connect_classifier, job.folders),
            machine=machine,
            check=job.check_camera,
        )

    def heartbeat(self, incarnation: str, leases: Sequence[Lease]) -> Heartbeat:
        """See CameraWorker."""
        return self._worker.heartbeat(incarnation, leases)

    def close(self) -> list[Report]:
        """Stop all cameras; their last events are in their outboxes, or reported as lost."""
        return self._worker.close()

    def families(self) -> Families:
        """What was counted so far."""
        return self._worker.metrics.families()


class RelayActor:
    """The relay of one machine."""

    def __init__(self, job: Job) -> None:
        job.enter_home("outbox", "bus" if job.settings.bus.url else "store")
        self._relay = RelayService(job.settings)
        self._relay.start()

    def apply_erasures(self, erasures: Sequence[Erasure]) -> None:
        """See RelayService."""
        self._relay.apply_erasures(erasures)

    def report(self) -> RelayReport:
        """Its last report."""
        return self._relay.report

    def families(self) -> Families:
        """What was counted so far."""
        return self._relay.metrics.families()


MOST_CALLS = 10_000
"""That one replica may hold at once; the route's `max_pending` refuses long before."""
Pool = ray.remote(PoolActor)
Cameras = ray.remote(CamerasActor)
RelayOf = ray.remote(RelayActor)


def replica_names(emotion: EmotionSettings) -> dict[str, list[str]]:
    """The names of the actors of each route's pool."""
    return {
        route: [f"{POOL}{route}-{n}" for n in range(settings.replicas)]
        for route, settings in emotion.routes.by_name().items()
    }


def start_pools(job: Job) -> dict[str, ActorHandle]:
    """The replicas of all classifier pools by name; those that do not run yet are started."""
    emotion = job.settings.emotion
    started: dict[str, ActorHandle] = {}
    for route, names in replica_names(emotion).items():
        gpus = emotion.routes.by_name()[route].gpus
        options = {**LASTING, "max_concurrency": MOST_CALLS}
        for number, name in enumerate(names):
            where = place_replica(number, gpus)
            started[name] = Pool.options(name=name, **options, **where).remote(job, route)
    return started
