"""The emotion pool's inside: crops of many cameras, classified together in micro-batches.

A plain class for an event loop. Whoever asks waits for at most `max_wait_ms` more than the network
needs, so that others can share the pass; what comes while a pass runs goes into the next one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.crops import Crops, check_crops
from models.scores import EmotionScores
from pipeline.errors import PoolFull
from pipeline.metrics import PoolMetrics
from pipeline.service_settings import PoolSettings


class Classifier(Protocol):
    """Scores crops, each by the weights named for it (see `pipeline.stages.classify`)."""

    def predict(
        self, crops: Crops, ids: NDArray[np.int64], weights: Sequence[str] = ()
    ) -> EmotionScores:
        """Crops (n, 112, 112, 3) uint8 RGB of the tracks `ids` (n,); `weights` n names, or none."""
        ...


@dataclass(frozen=True)
class _Request:
    crops: Crops
    ids: NDArray[np.int64]
    weights: Sequence[str]
    at_s: float
    answer: asyncio.Future[EmotionScores]


class EmotionPool:
    """Asked by many at once; to be used from one event loop."""

    def __init__(self, scorer: Classifier, settings: PoolSettings) -> None:
        self.metrics = PoolMetrics()
        self._scorer, self._settings = scorer, settings
        self._thread = ThreadPoolExecutor(1, "classify")
        self._waiting: deque[_Request] = deque()
        self._pending = 0
        self._came = asyncio.Event()
        self._server: asyncio.Task[None] | None = None

    async def predict(
        self, crops: Crops, ids: NDArray[np.int64], weights: Sequence[str] = ()
    ) -> EmotionScores:
        """Scores of crops as a Scorer gives them; n may be 0.

        Raises PoolFull at once when more than `max_pending` crops would wait; ModelError for
        crops of another shape, before they can spoil a batch.
        """
        check_crops(crops)
        if self._pending + len(crops) > self._settings.max_pending:
            raise PoolFull(
                f"more than {self._settings.max_pending} crops wait",
                "emotion pool",
                "raise pool.replicas, or lower source.analyse_fps",
            )
        if self._server is None or self._server.done():
            self._server = asyncio.create_task(self._serve())
        loop = asyncio.get_running_loop()
        request = _Request(crops, ids, weights, loop.time(), loop.create_future())
        self._waiting.append(request)
        self._count(len(crops))
        self._came.set()
        return await request.answer

    def close(self) -> None:
        """Finish the pass that runs and take no more."""
        if self._server is not None:
            self._server.cancel()
        self._thread.shutdown()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._together()
            batch = self._batch()
            try:
                answers = await loop.run_in_executor(self._thread, self._answers, batch)
                for request, scores in zip(batch, answers, strict=True):
                    if not request.answer.done():
                        request.answer.set_result(scores)
            except Exception as error:  # noqa: BLE001 - goes to whoever asked
                for request in batch:
                    if not request.answer.done():
                        request.answer.set_exception(error)
            finally:
                self._count(-sum(len(request.crops) for request in batch))

    async def _together(self) -> None:
        """Wait for a first request, and a little for others that can share its pass."""
        loop = asyncio.get_running_loop()
        while not self._waiting:
            self._came.clear()
            await self._came.wait()
        until = self._waiting[0].at_s + self._settings.max_wait_ms / 1000
        while self._pending < self._settings.max_batch and loop.time() < until:
            self._came.clear()
            try:
                await asyncio.wait_for(self._came.wait(), until - loop.time())
            except TimeoutError:
                return

    def _batch(self) -> list[_Request]:
        """The next requests, whole, oldest first, of at most `max_batch` crops if more than one."""
        batch = [self._waiting.popleft()]
        crops = len(batch[0].crops)
        while self._waiting and crops + len(self._waiting[0].crops) <= self._settings.max_batch:
            batch.append(self._waiting.popleft())
            crops += len(batch[-1].crops)
        return batch

    def _answers(self, batch: Sequence[_Request]) -> list[EmotionScores]:
        crops = np.concatenate([request.crops for request in batch])
        ids = np.concatenate([request.ids for request in batch])
        weights = [name for one in batch for name in one.weights or [""] * len(one.crops)]
        with self.metrics.batch_seconds.time():
            scores = self._scorer.predict(crops, ids, weights)
        self.metrics.batch_crops.observe(len(crops))
        ends = np.cumsum([len(request.crops) for request in batch])[:-1]
        rows = np.split(scores.probabilities, ends), np.split(scores.uncertainty, ends)
        return [EmotionScores(*pair) for pair in zip(*rows, strict=True)]

    def _count(self, crops: int) -> None:
        self._pending += crops
        self.metrics.pending.set(self._pending)
