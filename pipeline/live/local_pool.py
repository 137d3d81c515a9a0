"""The classifier pool in this process: an EmotionPool on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.crops import Crops
from models.emotions import EMOTIONS
from models.scores import EmotionScores
from pipeline.closing import Service
from pipeline.config import Settings
from pipeline.errors import PoolFull, ServiceError
from pipeline.frames import ClassifiedFaces, CroppedFaces, Route, ScoredBy
from pipeline.leaving import leave_at_once
from pipeline.live.pool import EmotionPool
from pipeline.metrics import CameraMetrics, Families
from pipeline.service_settings import PoolSettings

if TYPE_CHECKING:
    from pipeline.stages.classify import Classify

NAME = "emotion-0"
RETRY_S, CLOSE_S = 0.05, 2.0


class LocalPool(Service):
    """Classifies the crops of all cameras of this process together, as a pool actor does."""

    def __init__(
        self, settings: Settings, open_classifier: Callable[[], Classify] | None = None
    ) -> None:
        self._settings = settings
        self._open_classifier = open_classifier or self._open
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started, self._stop = threading.Event(), threading.Event()
        self._error: Exception | None = None
        self._pool: EmotionPool | None = None
        self._scored_by: dict[str, ScoredBy] = {}
        self._thread = threading.Thread(target=self._main, name=NAME, daemon=True)

    def start(self) -> None:
        """Start the thread; it loads the weights first."""
        self._thread.start()

    def has_started(self, within_s: float) -> bool:
        """Whether the weights are loaded by then; raises what kept them from loading."""
        is_started = self._started.wait(within_s)
        if self._error:
            raise self._error
        return is_started

    def scored_by(self, weights: str) -> ScoredBy:
        """How weights stand in the events, by their name in the settings."""
        return self._scored_by[weights]

    def predict(
        self, crops: Crops, ids: NDArray[np.int64], weights: Sequence[str], timeout_s: float
    ) -> EmotionScores:
        """See EmotionPool; from any thread. Raises TimeoutError after `timeout_s`, or when the pool
        is closed."""
        if self._loop is None or self._pool is None or self._stop.is_set():
            raise TimeoutError
        answer: Future[EmotionScores] = asyncio.run_coroutine_threadsafe(
            self._pool.predict(crops, ids, weights), self._loop
        )
        try:
            return answer.result(timeout_s)
        except TimeoutError:
            # Nobody waits for it any more; the batch that it may be in goes on for the others.
            answer.cancel()
            raise
        except CancelledError as error:
            raise TimeoutError from error

    def families(self) -> Iterator[tuple[str, Families]]:
        """What was counted so far."""
        if self._pool:
            yield NAME, self._pool.metrics.families()

    def close(self) -> None:
        """Finish the batch that runs, and take no more. One that still loads is not waited for."""
        self._stop.set()
        if self._loop and self._thread.is_alive():
            with suppress(RuntimeError):  # the loop has closed in this moment
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            # It still loads, inside a library that Python must not take down under it.
            leave_at_once(lambda: None)

    def _main(self) -> None:
        try:
            classifier = self._open_classifier()
            names = {"", self._settings.emotion.bad}
            self._scored_by = {name: classifier.scored_by(Route(name)) for name in names}
        except Exception as error:  # noqa: BLE001 - raised to whoever waits for the pool
            self._error = error
            self._started.set()
            return
        self._loop = asyncio.new_event_loop()
        self._pool = EmotionPool(classifier, self._settings.pool)
        self._started.set()
        if not self._stop.is_set():
            self._loop.run_forever()
        self._pool.close()
        # Each caller must see its end: whoever still waits for an answer is told at once.
        if tasks := asyncio.all_tasks(self._loop):
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.wait(tasks))
        self._loop.close()

    def _open(self) -> Classify:
        # torch, in this thread: the detector loads meanwhile in another.
        from pipeline.stages.classify import open_classify

        return open_classify(self._settings.emotion)


class LocalClassifierClient:
    """A camera's connection to the pool of its own process.

    Of a live camera a face that is not classified within `timeout_s` is called unknown, with the
    reason, and counted; a `patient` camera, a file, waits for up to `start_s`, and loses nothing.
    """

    def __init__(
        self,
        pool: LocalPool,
        camera: str,
        patient: bool,
        settings: PoolSettings,
        metrics: CameraMetrics,
        start_s: float,
    ) -> None:
        self._pool, self._patient = pool, patient
        self._timeout_s = start_s if patient else settings.timeout_s
        self._seconds = metrics.stage_seconds.labels("classify")
        self._unanswered = metrics.unanswered.labels(camera)

    @property
    def model(self) -> str:
        """The first weights' name, as it stands in the events."""
        return self._pool.scored_by("").model

    @property
    def mode(self) -> str:
        """The first weights' mode."""
        return self._pool.scored_by("").mode

    def __call__(self, cropped: CroppedFaces) -> ClassifiedFaces:
        """Scores of the cropped faces of a frame, in their order; there may be none."""
        tracked, routes = cropped.tracked, cropped.choices
        n = len(tracked.faces)
        if not n:
            return ClassifiedFaces(tracked, _no_scores(0), cropped.quality)
        by = tuple(
            replace(self._pool.scored_by(route.weights), reason=route.reason) for route in routes
        )
        try:
            with self._seconds.time():
                scores = self._predict(cropped)
        except ServiceError as error:
            if self._patient:
                raise
            self._unanswered.inc(n)
            by = (ScoredBy(self.model, self.mode, error.what),) * n
            return ClassifiedFaces(tracked, _no_scores(n), cropped.quality, by, answered=False)
        return ClassifiedFaces(tracked, scores, cropped.quality, by)

    def _predict(self, cropped: CroppedFaces) -> EmotionScores:
        weights = tuple(route.weights for route in cropped.choices)
        ids = cropped.tracked.track_ids
        until_s = time.monotonic() + self._timeout_s
        reason = ""
        while (left_s := until_s - time.monotonic()) > 0:
            try:
                return self._pool.predict(cropped.crops, ids, weights, left_s)
            except TimeoutError:
                break
            except PoolFull as error:
                reason = f" ({type(error).__name__})"
                time.sleep(RETRY_S)
        what = f"no answer from the emotion pool in {self._timeout_s:g} s{reason}"
        raise ServiceError(what, "emotion pool", "lower source.analyse_fps, or use more cores")


def _no_scores(n: int) -> EmotionScores:
    """Uniform probabilities, and the greatest uncertainty."""
    return EmotionScores(
        np.full((n, len(EMOTIONS)), 1 / len(EMOTIONS), np.float32), np.ones(n, np.float32)
    )
