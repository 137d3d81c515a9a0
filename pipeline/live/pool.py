"""The inside of a classifier pool's replica: crops of many cameras, in micro-batches.

A plain class for an event loop. A request waits for at most `max_wait_ms` more than the network
needs, so that others can share its batch; requests that arrive while a batch runs go into the next
one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from models.crops import check_crops
from models.scores import EmotionScores
from pipeline.emotion_settings import RouteSettings
from pipeline.errors import PoolFull
from pipeline.frames import ClassifyReply, ClassifyRequest
from pipeline.metrics import PoolMetrics


class Classifier(Protocol):
    """Classifies crops of many tracks at once (see `pipeline.stages.classify.RouteClassifier`)."""

    def classify(self, request: ClassifyRequest) -> ClassifyReply:
        """The scores of a request's crops, in their order."""
        ...


@dataclass(frozen=True, eq=False)
class _Waiting:
    request: ClassifyRequest
    at_s: float
    reply: asyncio.Future[ClassifyReply]

    def __len__(self) -> int:
        return len(self.request.crops)


class ClassifierPool:
    """One replica of a route's pool; to be used from one event loop."""

    def __init__(self, classifier: Classifier, settings: RouteSettings) -> None:
        self.metrics = PoolMetrics()
        self._classifier, self._settings = classifier, settings
        self._thread = ThreadPoolExecutor(1, "classify")
        self._waiting: deque[_Waiting] = deque()
        self._pending = 0
        self._has_come = asyncio.Event()
        self._server: asyncio.Task[None] | None = None

    async def classify(self, request: ClassifyRequest) -> ClassifyReply:
        """The scores of a request's crops and the states of their tracks; there may be none.

        Raises PoolFull at once when more than `max_pending` crops would wait; ModelError for
        crops of another shape, before they can spoil a batch.
        """
        check_crops(request.crops)
        if self._pending + len(request.crops) > self._settings.max_pending:
            raise PoolFull(
                f"more than {self._settings.max_pending} crops wait",
                "classifier pool",
                "increase the route's replicas, or lower source.analyse_fps",
            )
        if self._server is None or self._server.done():
            self._server = asyncio.create_task(self._serve())
        loop = asyncio.get_running_loop()
        waiting = _Waiting(request, loop.time(), loop.create_future())
        self._waiting.append(waiting)
        self._count(len(waiting))
        self._has_come.set()
        try:
            return await waiting.reply
        except asyncio.CancelledError:
            # Nobody waits for it any more: it is not computed, unless a batch has it already.
            if waiting in self._waiting:
                self._waiting.remove(waiting)
                self._count(-len(waiting))
            raise

    def close(self) -> None:
        """Finish the batch that runs and take no more."""
        if self._server is not None:
            self._server.cancel()
        self._thread.shutdown()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wait_for_requests()
            batch = self._next_batch()
            if not batch:  # whoever asked has given up since
                continue
            try:
                replies = await loop.run_in_executor(self._thread, self._classify, batch)
                for waiting, reply in zip(batch, replies, strict=True):
                    if not waiting.reply.done():
                        waiting.reply.set_result(reply)
            except Exception as error:  # noqa: BLE001 - goes to every caller of the batch
                for waiting in batch:
                    if not waiting.reply.done():
                        waiting.reply.set_exception(error)
            finally:
                self._count(-sum(len(waiting) for waiting in batch))

    async def _wait_for_requests(self) -> None:
        """Wait for a first request, and a little for others that can share its batch."""
        loop = asyncio.get_running_loop()
        while not self._waiting:
            self._has_come.clear()
            await self._has_come.wait()
        until = self._waiting[0].at_s + self._settings.max_wait_ms / 1000
        while self._pending < self._settings.max_batch and loop.time() < until:
            self._has_come.clear()
            try:
                await asyncio.wait_for(self._has_come.wait(), until - loop.time())
            except TimeoutError:
                return

    def _next_batch(self) -> list[_Waiting]:
        """The oldest requests, whole, of at most `max_batch` crops if more than one; none where all
        have been given up."""
        batch: list[_Waiting] = []
        crops = 0
        while self._waiting and (
            not batch or crops + len(self._waiting[0]) <= self._settings.max_batch
        ):
            batch.append(self._waiting.popleft())
            crops += len(batch[-1])
        return batch

    def _classify(self, batch: Sequence[_Waiting]) -> list[ClassifyReply]:
        requests = [waiting.request for waiting in batch]
        crops = np.concatenate([request.crops for request in requests])
        ids = np.concatenate([request.ids for request in requests])
        weights = [name for one in requests for name in one.weights or ("",) * len(one.crops)]
        states = [state for one in requests for state in one.states or (None,) * len(one.crops)]
        together = ClassifyRequest(crops, ids, tuple(weights), tuple(states) if any(states) else ())
        with self.metrics.batch_seconds.time():
            reply = self._classifier.classify(together)
        self.metrics.batch_crops.observe(len(crops))
        ends = np.cumsum([len(request.crops) for request in requests]).tolist()
        return [_part(reply, end - len(one), end) for one, end in zip(batch, ends, strict=True)]

    def _count(self, crops: int) -> None:
        self._pending += crops
        self.metrics.pending.set(self._pending)


def _part(reply: ClassifyReply, start: int, end: int) -> ClassifyReply:
    scores = reply.scores
    rows = EmotionScores(scores.probabilities[start:end], scores.uncertainty[start:end])
    return ClassifyReply(rows, reply.states[start:end])
