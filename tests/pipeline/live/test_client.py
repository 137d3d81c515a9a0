"""The classifier client's policy, over a made transport and a made clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from models.faces import Faces
from models.quality import QualityMeasures
from models.scores import EmotionScores
from pipeline.emotion_settings import RobustRouteSettings, RouteSettings
from pipeline.errors import ModelError, PoolFull, ServiceError
from pipeline.frames import (
    ClassifyReply,
    ClassifyRequest,
    CroppedFaces,
    FrameHeader,
    Route,
    ScoredBy,
    TrackedFaces,
    TrackState,
)
from pipeline.live.client import ClassifierClient, Reply
from pipeline.metrics import CameraMetrics

FAST = RouteSettings(timeout_s=5.0)
ROBUST = RobustRouteSettings(weights="slow", timeout_s=2.0)
REPLICAS = {"fast": ["fast-0", "fast-1"], "robust": ["robust-0"]}
FULL = PoolFull("more than 4 crops wait", "classifier pool", "wait")
DEAD = ServiceError("the replica has died", "fast-0", "wait")
SILENT = TimeoutError()


@dataclass
class MadeReply:
    """A reply that is there at `at_s` of the clock, or raises."""

    made: Made
    value: Any
    at_s: float = 0.0

    def is_ready(self) -> bool:
        return self.value is not SILENT and self.made.now_s >= self.at_s

    def result(self, timeout_s: float) -> Any:
        if not self.is_ready():
            self.made.now_s = min(self.made.now_s + timeout_s, max(self.at_s, self.made.now_s))
            if self.value is SILENT:
                self.made.now_s += timeout_s
                raise SILENT
            if not self.is_ready():
                raise TimeoutError
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    def cancel(self) -> None:
        self.made.cancelled += 1


@dataclass
class Made:
    """A transport whose replicas answer as scripted, and else at once; and the clock."""

    now_s: float = 100.0
    script: dict[str, list[Any]] = field(default_factory=dict)
    delay_s: dict[str, float] = field(default_factory=dict)
    sent: list[tuple[str, ClassifyRequest]] = field(default_factory=list)
    cancelled: int = 0
    states: Callable[[ClassifyRequest], tuple[TrackState | None, ...]] = lambda request: ()
    crops: dict[str, str] = field(default_factory=dict)

    def send(self, replica: str, method: str, *arguments: Any) -> Reply:
        if method == "names":
            route = replica.partition("-")[0]
            crop = self.crops.get(route, "square-1.0")
            names = {
                name: ScoredBy(f"{route}{end}", "m", crop=crop)
                for name, end in (("", ""), ("bad", "-bad"))
            }
            return MadeReply(self, names)
        (request,) = arguments
        self.sent.append((replica, request))
        if self.script.get(replica):
            value = self.script[replica].pop(0)
            if value == "missing":
                raise ServiceError("no such replica", replica, "wait")
            return MadeReply(self, value)
        n = len(request.crops)
        probabilities = np.tile(np.eye(8, dtype=np.float32)[1 if "fast" in replica else 2], (n, 1))
        scores = EmotionScores(probabilities, np.full(n, 0.25, np.float32))
        at_s = self.now_s + self.delay_s.get(replica, 0.0)
        return MadeReply(self, ClassifyReply(scores, self.states(request)), at_s)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def client(
    made: Made, patient: bool = False, camera: str = "d"
) -> tuple[ClassifierClient, CameraMetrics]:
    metrics = CameraMetrics()
    routes = {"fast": FAST, "robust": ROBUST}
    ours = ClassifierClient(
        *(made, REPLICAS, routes, camera, patient, metrics, 600.0),
        monotonic=lambda: made.now_s,
        sleep=made.sleep,
    )
    # Begin at the first replica of each route, whatever the camera is called.
    ours._turn = dict.fromkeys(REPLICAS, 0)
    return ours, metrics


def counted(metrics: CameraMetrics, name: str, **labels: str) -> float:
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        for sample in family.samples:
            if sample.name == f"undercam_{name}_total" and labels.items() <= sample.labels.items():
                return sample.value
    return 0.0


def frame(
    index: int,
    tracks: Sequence[int] = (1,),
    routes: tuple[Route, ...] = (),
    ended: tuple[int, ...] = (),
) -> CroppedFaces:
    n = len(tracks)
    header = FrameHeader("d", "e1", index, index / 10, 0, 0, "arrival", 200, 100)
    boxes = np.tile(np.float32([10, 10, 66, 66]), (n, 1))
    faces = Faces(boxes, np.ones(n, np.float32), np.zeros((n, 5, 2), np.float32))
    crops = np.zeros((n, 112, 112, 3), np.uint8)
    crops[:, 0, 0, 0] = tracks
    measures = [np.full(n, value, np.float32) for value in (0.5, 0.0, 0.5, 56.0)]
    tracked = TrackedFaces(header, faces, np.array(tracks, np.int64), ended)
    return CroppedFaces(tracked, crops, QualityMeasures(*measures), np.ones(n, np.int64), routes)


def test_a_frame_without_faces_asks_nobody() -> None:
    made = Made()
    ours, _ = client(made)
    assert len(ours(frame(0, ())).scores) == 0
    assert made.sent == []


def test_each_face_is_asked_of_the_pool_of_its_route() -> None:
    made = Made()
    ours, _ = client(made)
    routes = (Route("robust", "", "mode"), Route("fast", "bad", "noise 0.031"), Route("robust"))
    classified = ours(frame(0, (7, 8, 9), routes))
    assert classified.scores.probabilities.argmax(axis=1).tolist() == [2, 1, 2]
    assert classified.answered.tolist() == [True, True, True]
    assert classified.by == (
        ScoredBy("robust", "m", "mode"),
        ScoredBy("fast-bad", "m", "noise 0.031"),
        ScoredBy("robust", "m"),
    )
    assert [(replica, request.ids.tolist()) for replica, request in made.sent] == [
        ("robust-0", [7, 9]),
        ("fast-0", [8]),
    ]
    assert made.sent[0][1].crops[:, 0, 0, 0].tolist() == [7, 9]
    assert (ours.model, ours.mode) == ("fast", "m")


def test_a_replica_that_has_died_is_named_in_the_reason() -> None:
    made = Made(script={"fast-0": [DEAD] * 99, "fast-1": [DEAD] * 99})
    ours, _ = client(made)
    (by,) = ours(frame(0)).by
    assert by.reason == "no answer from the classifier pool in 5 s (its replica has died)"


def test_routes_that_were_waited_for_hold_no_frame_up() -> None:
    made = Made()
    named: list[str] = []
    send = made.send

    def note(replica: str, method: str, *arguments: Any) -> Reply:
        named.extend([replica] if method == "names" else [])
        return send(replica, method, *arguments)

    made.send = note  # type: ignore[method-assign]
    ours, _ = client(made)
    ours.wait_for(("fast", "robust"))
    assert named == ["fast-0", "robust-0"]
    ours(frame(0, routes=(Route("robust", "", "mode"),)))
    assert named == ["fast-0", "robust-0"]


@pytest.mark.parametrize("fault", [DEAD, FULL, "missing"])
def test_a_replica_that_is_dead_full_or_missing_is_followed_by_the_next(fault: object) -> None:
    made = Made(script={"fast-0": [fault]})
    ours, metrics = client(made)
    assert ours(frame(0)).answered.tolist() == [True]
    assert ours(frame(1)).answered.tolist() == [True]
    assert [replica for replica, _ in made.sent] == ["fast-0", "fast-1", "fast-1"]
    assert counted(metrics, "observations_unanswered") == 0


def test_a_face_without_an_answer_in_time_is_unknown_and_counted() -> None:
    made = Made(script={"fast-0": [SILENT]})
    ours, metrics = client(made)
    classified = ours(frame(0, (1, 2)))
    assert made.now_s == pytest.approx(105.0)
    assert classified.answered.tolist() == [False, False]
    assert classified.scores.probabilities == pytest.approx(np.full((2, 8), 1 / 8))
    reason = "no answer from the classifier pool in 5 s"
    assert classified.by == (ScoredBy("fast", "m", reason),) * 2
    assert counted(metrics, "observations_unanswered", camera="d") == 2
    assert ours(frame(1)).answered.tolist() == [True]


def test_replicas_that_stay_full_use_up_the_time_and_are_named() -> None:
    made = Made(script={"fast-0": [FULL] * 99, "fast-1": [FULL] * 99})
    ours, _ = client(made)
    (by,) = ours(frame(0)).by
    assert by.reason == "no answer from the classifier pool in 5 s (the pool is full)"
    assert 105 <= made.now_s < 105.1


def test_one_route_without_an_answer_leaves_the_faces_of_the_other_answered() -> None:
    made = Made(script={"robust-0": [SILENT]})
    ours, metrics = client(made)
    classified = ours(frame(0, (1, 2), (Route("robust"), Route())))
    assert classified.answered.tolist() == [False, True]
    assert [one.model for one in classified.by] == ["robust", "fast"]
    assert classified.by[1].reason == ""
    assert counted(metrics, "observations_unanswered") == 1


def test_a_patient_camera_waits_and_then_says_what_is_missing() -> None:
    made = Made(delay_s={"fast-0": 500.0})
    ours, _ = client(made, patient=True)
    assert ours(frame(0)).answered.tolist() == [True]
    assert made.now_s == 600.0
    made.script = {"fast-0": [SILENT]}
    with pytest.raises(ServiceError, match=r"no answer .* in 600 s: route fast: increase"):
        ours(frame(1))


def test_a_fault_of_the_request_itself_is_not_tried_again() -> None:
    made = Made(script={"fast-0": [ModelError("crops of shape (1,)", "x", "y")]})
    ours, _ = client(made)
    with pytest.raises(ModelError):
        ours(frame(0))
    assert len(made.sent) == 1


# Late answers ------------------------------------------------------------------------------------

AGAIN = (Route("robust", "", "uncertain 0.62"),)


def test_a_late_answer_is_taken_when_it_is_there_and_nobody_waits_for_it() -> None:
    made = Made(delay_s={"robust-0": 1.0})
    ours, metrics = client(made)
    ours(frame(3))
    ours.request(frame(3, (1,), AGAIN))
    assert ours.in_flight == {1}
    assert (ours.late_answers(), made.now_s) == ([], 100.0)
    made.now_s += 1.0
    (late,) = ours.late_answers()
    assert (late.track, late.pts_s, late.probabilities.argmax()) == (1, 0.3, 2)
    assert late.weight == pytest.approx(0.5 * 56 / 112)
    assert ours.in_flight == set()
    assert counted(metrics, "robust_requests", outcome="answered") == 1


@pytest.mark.parametrize(
    ("script", "outcome"),
    [([SILENT], "timeout"), ([FULL], "refused"), ([DEAD], "refused"), (["missing"], "refused")],
)
def test_a_late_answer_that_does_not_come_is_counted_and_let_go(
    script: list[object], outcome: str
) -> None:
    made = Made(script={"robust-0": script})
    ours, metrics = client(made)
    ours(frame(0))
    ours.request(frame(0, (1,), AGAIN))
    made.now_s += ROBUST.timeout_s
    assert ours.late_answers() == []
    assert ours.in_flight == set()
    assert counted(metrics, "robust_requests", outcome=outcome) == 1
    assert len(made.sent) == 2
    assert made.cancelled == (outcome == "timeout")


def test_the_answer_for_a_track_that_has_ended_is_dropped() -> None:
    made = Made(delay_s={"robust-0": 1.0}, states=lambda r: (TrackState("w", b"s"),) * len(r.ids))
    ours, _ = client(made)
    ours(frame(0, (1, 2)))
    ours.request(frame(0, (1, 2), AGAIN * 2))
    ours(frame(1, (2,), ended=(1,)))
    made.now_s += 1.0
    assert [late.track for late in ours.late_answers()] == [2]
    ours.request(frame(2, (1, 2), AGAIN * 2))
    assert made.sent[-1][1].states == (None, TrackState("w", b"s"))


def test_a_patient_camera_waits_for_late_answers() -> None:
    made = Made(delay_s={"robust-0": 30.0})
    ours, _ = client(made, patient=True)
    ours(frame(0))
    ours.request(frame(0, (1,), AGAIN))
    assert len(ours.late_answers()) == 1
    assert made.now_s == 130.0


# States ------------------------------------------------------------------------------------------


def test_the_state_of_a_track_comes_back_with_its_next_request_for_each_route() -> None:
    def states(request: ClassifyRequest) -> tuple[TrackState, ...]:
        return tuple(TrackState("w", bytes([track])) for track in request.ids.tolist())

    made = Made(states=states)
    ours, _ = client(made)
    ours(frame(0, (1, 2)))
    ours(frame(1, (2, 3), ended=(1,)))
    ours(frame(2, (3, 1), (Route(), Route("robust"))))
    assert [request.states for _, request in made.sent] == [
        (),
        (TrackState("w", b"\x02"), None),
        (TrackState("w", b"\x03"),),
        (),
    ]


def test_a_lost_reply_loses_the_answer_and_keeps_the_older_state() -> None:
    made = Made(states=lambda request: (TrackState("w", b"old"),))
    ours, _ = client(made)
    ours(frame(0))
    made.script = {"fast-0": [SILENT]}
    ours(frame(1))
    ours(frame(2))
    assert [bool(request.states) for _, request in made.sent] == [False, True, True]


def test_a_state_of_more_than_a_kilobyte_is_refused() -> None:
    assert TrackState("w", bytes(1024))
    with pytest.raises(ValueError, match="at most 1024 bytes, got 1025"):
        TrackState("w", bytes(1025))


def test_the_crops_are_those_of_the_routes_that_were_waited_for() -> None:
    made = Made()
    ours, _ = client(made)
    assert ours.crop == "square-1.0"
    ours.wait_for(["fast", "robust"])
    assert ours.crop == "square-1.0"


def test_routes_of_two_geometries_are_refused() -> None:
    made = Made(crops={"robust": "aligned-5-1.0"})
    ours, _ = client(made)
    assert ours.crop == "square-1.0"  # the camera needs the route fast alone
    ours.wait_for(["robust"])
    with pytest.raises(ModelError, match="fast takes crops of 'square-1.0', robust of 'aligned"):
        _ = ours.crop
