"""The classifier pool of one process: answers, faults, and an end that keeps nobody waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from models.faces import Faces
from models.quality import QualityMeasures
from models.scores import EmotionScores
from pipeline.config import Settings
from pipeline.emotion_settings import RouteSettings
from pipeline.errors import ModelError, ServiceError
from pipeline.frames import (
    ClassifyReply,
    ClassifyRequest,
    CroppedFaces,
    FrameHeader,
    Route,
    ScoredBy,
    TrackedFaces,
)
from pipeline.live.client import ClassifierClient
from pipeline.live.local_pool import LocalPool
from pipeline.metrics import CameraMetrics


class Counting:
    """A classifier that waits until it may answer."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()

    @property
    def routes(self) -> dict[str, Counting]:
        """As the routes of `pipeline.stages.classify.Classify`."""
        return {"fast": self}

    def names(self) -> dict[str, ScoredBy]:
        return {"": ScoredBy("weights", "fast")}

    def classify(self, request: ClassifyRequest) -> ClassifyReply:
        self.go.wait(10)
        n = len(request.crops)
        scores = np.zeros((n, 8), np.float32)
        scores[:, 2] = 1.0
        return ClassifyReply(EmotionScores(scores, np.zeros(n, np.float32)))


@pytest.fixture
def classifier() -> Counting:
    return Counting()


@pytest.fixture
def pool(classifier: Counting) -> Iterator[LocalPool]:
    with LocalPool(Settings(), lambda: classifier) as made:  # type: ignore[arg-type,return-value]
        assert made.has_started(10)
        yield made
        classifier.go.set()


def cropped(n: int, reason: str = "") -> CroppedFaces:
    header = FrameHeader("door", "e1", 0, 0.0, 0, 0, "arrival", 320, 240)
    boxes = np.tile(np.array([[0, 0, 50, 50]], np.float32), (n, 1))
    faces = Faces(boxes, np.ones(n, np.float32), np.zeros((n, 5, 2), np.float32))
    tracked = TrackedFaces(header, faces, np.arange(1, n + 1))
    crops = np.zeros((n, 112, 112, 3), np.uint8)
    quality = QualityMeasures(*(np.full(n, 0.5, np.float32) for _ in range(4)))
    return CroppedFaces(
        tracked, crops, quality, np.ones(n, np.int64), (Route("fast", "", reason),) * n
    )


def client(
    pool: LocalPool, patient: bool, metrics: CameraMetrics, **settings: float
) -> ClassifierClient:
    routes = {"fast": RouteSettings.model_validate(settings)}
    return ClassifierClient(pool, pool.replicas, routes, "door", patient, metrics, 20.0)


def test_faces_are_classified_and_it_is_said_by_what(pool: LocalPool) -> None:
    ask = client(pool, False, CameraMetrics())
    assert (ask.model, ask.mode) == ("weights", "fast")
    looks = ask(cropped(2, "noise 0.031"))
    assert looks.answered.all()
    assert looks.scores.probabilities.argmax(axis=1).tolist() == [2, 2]
    assert looks.by == (ScoredBy("weights", "fast", "noise 0.031"),) * 2
    assert len(ask(cropped(0)).scores.probabilities) == 0


def test_a_live_camera_does_not_wait_and_what_was_not_answered_is_counted(
    pool: LocalPool, classifier: Counting
) -> None:
    metrics = CameraMetrics()
    classifier.go.clear()
    looks = client(pool, False, metrics, timeout_s=0.05)(cropped(3))
    assert not looks.answered.any()
    assert looks.by[0].reason.startswith("no answer from the classifier pool in 0.05 s")
    assert looks.scores.uncertainty.tolist() == [1, 1, 1]
    unanswered = metrics.registry.get_sample_value(
        "undercam_observations_unanswered_total", {"camera": "door"}
    )
    assert unanswered == 3


def test_a_file_waits_for_its_answer(pool: LocalPool, classifier: Counting) -> None:
    classifier.go.clear()
    threading.Timer(0.3, classifier.go.set).start()
    assert client(pool, True, CameraMetrics(), timeout_s=0.05)(cropped(1)).answered.all()


def test_whoever_waits_when_it_is_closed_is_told_at_once(
    pool: LocalPool, classifier: Counting
) -> None:
    classifier.go.clear()
    began_s = time.monotonic()
    threading.Timer(0.2, pool.close).start()
    threading.Timer(0.4, classifier.go.set).start()
    with pytest.raises(ServiceError, match="no answer from the classifier pool"):
        client(pool, True, CameraMetrics())(cropped(1))
    assert time.monotonic() - began_s < 10


def test_weights_that_do_not_load_are_the_error_of_whoever_starts_it() -> None:
    def refuse() -> object:
        raise ModelError("no such weights", "x", "y")

    with (
        LocalPool(Settings(), refuse) as pool,  # type: ignore[arg-type]
        pytest.raises(ModelError),
    ):
        pool.has_started(10)
