"""A camera's way to the emotion pool, from inside its process."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError

from models.emotions import EMOTIONS
from models.scores import EmotionScores
from pipeline.errors import PoolFull, ServiceError
from pipeline.frames import ClassifiedFaces, CroppedFaces, ScoredBy
from pipeline.metrics import CameraMetrics
from pipeline.service_settings import PoolSettings

AGAIN_S = 0.05


class RayClassifierClient:
    """Asks one replica, and the next one where that is gone or full.

    Of a live camera a look that nobody answers in `timeout_s` is called unknown, with the reason,
    and counted; a `patient` camera waits for as long as it takes, so nothing of a file is lost.
    """

    def __init__(
        self,
        pools: Sequence[str],
        camera: str,
        patient: bool,
        settings: PoolSettings,
        metrics: CameraMetrics,
        start_s: float,
    ) -> None:
        """A pool that begins loads its weights first, and may take `start_s` for it."""
        self._pools = pools
        self._handles: dict[str, ActorHandle] = {}
        self._turn = zlib.crc32(camera.encode())
        self._patience_s = start_s if patient else settings.timeout_s
        self._patient, self._start_s = patient, start_s
        self._seconds = metrics.stage_seconds.labels("classify")
        self._unanswered = metrics.unanswered.labels(camera)

    @property
    def model(self) -> str:
        """The first weights' name, as it stands in the events."""
        return self._by[""].model

    @property
    def mode(self) -> str:
        """The first weights' mode."""
        return self._by[""].mode

    def __call__(self, cropped: CroppedFaces) -> ClassifiedFaces:
        """Looks at the cropped faces of a frame, in their order; there may be none."""
        tracked = cropped.tracked
        if not len(tracked.faces):
            return ClassifiedFaces(tracked, _no_idea(0), cropped.quality)
        weights = tuple(choice.weights for choice in cropped.choices)
        by = tuple(
            replace(self._by[choice.weights], reason=choice.reason) for choice in cropped.choices
        )
        try:
            with self._seconds.time():
                scores = self._asked(
                    "predict", self._patience_s, cropped.crops, tracked.track_ids, weights
                )
        except ServiceError as error:
            if self._patient:
                raise
            n = len(cropped.crops)
            self._unanswered.inc(n)
            by = (ScoredBy(self.model, self.mode, error.what),) * n
            return ClassifiedFaces(tracked, _no_idea(n), cropped.quality, by, answered=False)
        return ClassifiedFaces(tracked, scores, cropped.quality, by)

    @cached_property
    def _by(self) -> dict[str, ScoredBy]:
        return self._asked("by", self._start_s)

    def _asked(self, method: str, patience_s: float, *arguments: Any) -> Any:
        until = time.monotonic() + patience_s
        reason = ""
        while (left_s := until - time.monotonic()) > 0:
            try:
                return ray.get(getattr(self._pool(), method).remote(*arguments), timeout=left_s)
            except GetTimeoutError:
                break
            except (RayActorError, PoolFull, ServiceError) as error:
                reason = f" ({type(error).__name__})"
                self._turn += 1
                time.sleep(AGAIN_S)
        what = f"no answer from the emotion pool in {patience_s:g} s{reason}"
        raise ServiceError(what, "emotion pool", "raise pool.replicas, or see `undercam doctor`")

    def _pool(self) -> ActorHandle:
        name = self._pools[self._turn % len(self._pools)]
        if name not in self._handles:
            try:
                # It outlives the restarts of its actor.
                self._handles[name] = ray.get_actor(name)
            except ValueError as error:
                raise ServiceError("not there yet", name, "wait") from error
        return self._handles[name]


def _no_idea(n: int) -> EmotionScores:
    return EmotionScores(
        np.full((n, len(EMOTIONS)), 1 / len(EMOTIONS), np.float32), np.ones(n, np.float32)
    )
