"""A classifier pool's actor, and a request that is given up while another is computed; prints how
many requests were computed."""

import asyncio
import sys
import threading
import time

import numpy as np
import ray

from models.crops import CROP_PX
from models.scores import EmotionScores
from pipeline.emotion_settings import RouteSettings
from pipeline.frames import ClassifyReply, ClassifyRequest
from pipeline.live.pool import ClassifierPool
from pipeline.live.ray.client import RayTransport


class Gate:
    """Classifies when it is opened, and counts."""

    def __init__(self) -> None:
        self.opened, self.computed = threading.Event(), 0

    def classify(self, request: ClassifyRequest) -> ClassifyReply:
        """See `pipeline.live.pool.Classifier`."""
        self.opened.wait()
        self.computed += len(request.crops)
        n = len(request.crops)
        return ClassifyReply(EmotionScores(np.full((n, 8), 1 / 8, np.float32), np.ones(n, "f4")))


class GatedPool:
    """As `pipeline.live.ray.actors.PoolActor`, without weights."""

    def __init__(self) -> None:
        self._gate = Gate()
        self._pool = ClassifierPool(self._gate, RouteSettings(max_batch=1, max_wait_ms=0))

    async def classify(self, request: ClassifyRequest) -> ClassifyReply:
        """See ClassifierPool."""
        return await self._pool.classify(request)

    async def waiting(self) -> int:
        """Crops that wait, or are computed."""
        return self._pool._pending

    async def open(self) -> int:
        """Open the gate; returns the number of crops computed once nothing waits."""
        self._gate.opened.set()
        while self._pool._pending:
            await asyncio.sleep(0.01)
        return self._gate.computed


if __name__ == "__main__":
    ray.init(num_cpus=1, include_dashboard=False, object_store_memory=80_000_000)
    pool = ray.remote(GatedPool).options(name="pool", max_concurrency=100).remote()
    transport = RayTransport()
    crops = np.zeros((1, CROP_PX, CROP_PX, 3), np.uint8)
    request = ClassifyRequest(crops, np.arange(1))

    def wait_for(count: int) -> None:
        until_s = time.monotonic() + 30
        while ray.get(pool.waiting.remote()) != count and time.monotonic() < until_s:
            time.sleep(0.02)

    first = transport.send("pool", "classify", request)
    wait_for(1)
    given_up = transport.send("pool", "classify", request)
    wait_for(2)
    try:
        given_up.result(0.05)
    except TimeoutError:
        given_up.cancel()
    wait_for(1)
    computed = ray.get(pool.open.remote())
    first.result(10.0)
    sys.stdout.write(f"{computed}\n")
