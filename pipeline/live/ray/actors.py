"""The plain classes as actors, wrapped once. Named and detached: none dies with who started it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.actor import ActorHandle

from models.crops import Crops
from models.scores import EmotionScores
from pipeline.frames import Route, ScoredBy
from pipeline.live.camera_worker import CameraWorker
from pipeline.live.engine import Job
from pipeline.live.leases import Heartbeat, Lease, Report
from pipeline.live.ray.client import RayClassifierClient
from pipeline.live.relay_service import RelayReport, RelayService
from pipeline.metrics import CameraMetrics, Families

POOL, CAMERAS, RELAY, SUPERVISOR = "emotion-", "cameras-", "relay-", "supervisor"
"""How the actors' names begin."""
LASTING: dict[str, Any] = {"lifetime": "detached", "max_restarts": -1, "get_if_exists": True}


class PoolActor:
    """A replica of the emotion pool."""

    def __init__(self, job: Job) -> None:
        # torch, here alone: whoever reads cameras does without.
        from pipeline.live.pool import EmotionPool
        from pipeline.stages.classify import open_classify

        job.enter_home()
        classify = open_classify(job.settings.emotion)
        self._pool = EmotionPool(classify, job.settings.pool)
        names = {"", job.settings.emotion.bad}
        self._by = {name: classify.scored_by(Route(name)) for name in names}

    async def by(self) -> dict[str, ScoredBy]:
        """How weights stand in events, by their name in the settings."""
        return self._by

    async def predict(
        self, crops: Crops, ids: NDArray[np.int64], weights: Sequence[str]
    ) -> EmotionScores:
        """See EmotionPool."""
        return await self._pool.predict(crops, ids, weights)

    async def families(self) -> Families:
        """What was counted so far."""
        return self._pool.metrics.families()


class CamerasActor:
    """A camera process."""

    def __init__(self, job: Job) -> None:
        job.enter_home()
        settings = job.settings
        pools = [f"{POOL}{n}" for n in range(settings.pool.replicas)]

        def connect_classifier(lease: Lease, metrics: CameraMetrics) -> RayClassifierClient:
            patient = lease.settings.play == "once"
            start_s = settings.cluster.start_timeout_s
            return RayClassifierClient(
                pools, lease.camera, patient, settings.pool, metrics, start_s
            )

        self._worker = CameraWorker(settings, connect_classifier, job.folders)

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
        job.enter_home()
        self._relay = RelayService(job.settings)
        self._relay.start()

    def report(self) -> RelayReport:
        """Its last report."""
        return self._relay.report

    def families(self) -> Families:
        """What was counted so far."""
        return self._relay.metrics.families()


MOST_CALLS = 10_000
"""That one replica may hold at once; `pool.max_pending` refuses long before."""
Pool = ray.remote(PoolActor)
Cameras = ray.remote(CamerasActor)
RelayOf = ray.remote(RelayActor)


def start_pool(job: Job) -> dict[str, ActorHandle]:
    """The replicas of the emotion pool by name, those that are not there yet begun."""
    pool = job.settings.pool
    options = {
        **LASTING,
        "num_cpus": 0,
        "num_gpus": pool.gpus_per_replica,
        "max_concurrency": MOST_CALLS,
    }
    names = [f"{POOL}{n}" for n in range(pool.replicas)]
    return {name: Pool.options(name=name, **options).remote(job) for name in names}
