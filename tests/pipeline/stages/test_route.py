"""Which weights score a face: by the noise of its track, without flapping, or as a camera says."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.crops import crops_from_tiles
from models.faces import Faces
from models.quality import QualityMeasures, measure
from models.scores import EmotionScores
from models.udc.suites import degrade
from pipeline.emotion_settings import EmotionSettings, RouteSettings
from pipeline.errors import ConfigError
from pipeline.frames import (
    ClassifiedFaces,
    CroppedFaces,
    FrameHeader,
    LateAnswer,
    Route,
    ScoredBy,
    TrackedFaces,
)
from pipeline.stages.route import BURST, ComputeShare, Router
from trainer.data.readers import open_faces

FAST = {"degraded_weights": "bad", "degraded_noise": 0.03}
BAD = EmotionSettings.model_validate({"routes": {"fast": FAST}})
FPS = 10
GOOD = Route()


def frame(
    index: int, noise: Sequence[float], numbers: Sequence[int] = (1,), ended: tuple[int, ...] = ()
) -> CroppedFaces:
    """One frame with tracks of these numbers, their looks so noisy."""
    n = len(noise)
    header = FrameHeader("door", "e1", index, index / FPS, 0, 0, "media", 200, 100)
    faces = Faces(
        np.tile(np.float32([10, 10, 60, 60]), (n, 1)),
        np.ones(n, np.float32),
        np.zeros((n, 5, 2), np.float32),
    )
    ones = np.ones(n, np.float32)
    return CroppedFaces(
        TrackedFaces(header, faces, np.array(numbers[:n], np.int64), ended),
        np.zeros((n, 112, 112, 3), np.uint8),
        QualityMeasures(ones, np.float32(noise), ones, ones),
        np.ones(n, np.int64),
    )


def weights_of(choose: Router, noises: Sequence[float]) -> list[str]:
    return [choose(frame(i, [noise])).routes[0].weights for i, noise in enumerate(noises)]


@pytest.mark.parametrize(
    ("given", "bad"),
    [
        ({}, "resnet18-w36-udc-real"),
        ({"weights": "resnet18-w32"}, "resnet18-w32-udc"),
        ({"weights": "lrdif"}, "lrdif-udc"),
        ({"weights": "own.safetensors"}, ""),
        ({"weights": "own.safetensors", "degraded_weights": "other"}, "other"),
        ({"degraded_weights": ""}, ""),
    ],
)
def test_weights_for_bad_pictures_stand_beside_the_shipped_ones(
    given: dict[str, str], bad: str
) -> None:
    """Who brings weights of their own is not answered by others, unless they say so."""
    assert RouteSettings.model_validate(given).degraded == bad


def test_without_other_weights_nothing_is_chosen() -> None:
    cropped = frame(0, [0.5])
    settings = EmotionSettings.model_validate({"routes": {"fast": {"degraded_weights": ""}}})
    for under_display in (None, True, False):
        assert Router(settings, under_display)(cropped) is cropped


def test_a_noisy_track_gets_the_other_weights_and_the_reason() -> None:
    said = Router(BAD)(frame(0, [0.05, 0.01], numbers=(7, 2)))
    assert said.routes == (Route("fast", "bad", "noise 0.050"), GOOD)
    assert Router(BAD)(frame(0, [])).routes == ()


@pytest.mark.parametrize(("under_display", "noise"), [(True, 0.0), (False, 0.5)])
def test_a_camera_that_says_so_is_not_measured(under_display: bool, noise: float) -> None:
    (choice,) = Router(BAD, under_display)(frame(0, [noise])).routes
    assert choice == (Route("fast", "bad", "under_display") if under_display else GOOD)


def test_a_track_near_the_threshold_does_not_flap() -> None:
    """Looks that alternate about the threshold: one change at most."""
    noises = [0.031 if i % 2 else 0.028 for i in range(200)]
    said = weights_of(Router(BAD), noises)
    assert sum(a != b for a, b in itertools.pairwise(said)) <= 1


@pytest.mark.parametrize("seed", range(5))
def test_noise_that_wanders_changes_weights_seldom(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noises = (0.03 + 0.004 * rng.standard_normal(600)).clip(0)
    said = weights_of(Router(BAD), noises.tolist())
    alone = [noise > 0.03 for noise in noises]
    changes = sum(a != b for a, b in itertools.pairwise(said))
    assert sum(a != b for a, b in itertools.pairwise(alone)) > 200
    assert changes <= 2


def test_a_lasting_change_is_followed_and_one_look_is_not() -> None:
    one = weights_of(Router(BAD), [0.01] * 5 + [0.06] + [0.01] * 5)
    assert set(one) == {""}
    there_and_back = weights_of(Router(BAD), [0.01] * 10 + [0.06] * 30 + [0.01] * 40)
    at = [i for i in range(1, 80) if there_and_back[i] != there_and_back[i - 1]]
    assert len(at) == 2
    first, second = at
    assert 10 < first < 20  # half a second
    assert 40 < second < 60


def test_time_counts_not_frames() -> None:
    """At twice the frames a second, the change is seen at the same time."""

    def seen_s(every: int) -> float:
        choose = Router(BAD)
        for i in range(0, 60, every):
            noise = 0.01 if i < 20 else 0.06
            if choose(frame(i, [noise])).routes[0].weights:
                return i / FPS
        raise AssertionError

    assert seen_s(2) == pytest.approx(seen_s(1), abs=0.21)


def test_a_track_that_ended_is_forgotten() -> None:
    choose = Router(BAD)
    choose(frame(0, [0.06, 0.06], numbers=(1, 2)))
    choose(frame(1, [0.06], numbers=(2,), ended=(1,)))
    assert list(choose._tracks) == [2]


@pytest.mark.needs("data")
def test_the_default_tells_clean_faces_from_faces_behind_displays() -> None:
    faces = open_faces("ferplus:public")[:100]
    default = RouteSettings().degraded_noise

    def above(cell: str) -> float:
        crops = crops_from_tiles(degrade(faces.tiles, faces.ids, faces.name, cell))
        boxes = np.tile(np.float32([0, 0, 48, 48]), (len(crops), 1))
        return float((measure(crops, boxes).noise > default).mean())

    assert above("clean") <= 0.05
    for cell in ("udc_p/3", "udc_p/5", "udc_t/4"):
        assert above(cell) >= 0.9


# Modes -------------------------------------------------------------------------------------------


def emotion(mode: str, fast: dict[str, Any] | None = None, **robust: Any) -> EmotionSettings:
    routes = {
        "fast": fast or {"degraded_weights": ""},
        "robust": {"weights": "slow", "degraded_weights": "", **robust},
    }
    return EmotionSettings.model_validate({"mode": mode, "routes": routes})


def test_in_the_mode_robust_every_face_takes_it() -> None:
    (route,) = Router(emotion("robust"))(frame(0, [0.5])).routes
    assert route == Route("robust", "", "mode")
    degraded = emotion("robust", degraded_weights="slow-udc")
    routes = Router(degraded)(frame(0, [0.05, 0.01], numbers=(7, 2))).routes
    assert routes[0] == Route("robust", "slow-udc", "mode; noise 0.050")
    assert routes[1] == Route("robust", "", "mode")


def test_a_mode_without_its_route_is_refused() -> None:
    settings = EmotionSettings().model_copy(update={"mode": "auto"})
    with pytest.raises(
        ConfigError, match="mode 'auto' needs a robust route: emotion.mode: set emotion"
    ):
        Router(settings)
    with pytest.raises(ConfigError, match=r"route: cameras.door.mode: set emotion"):
        Router(settings, mode_key="cameras.door.mode")


class Robust:
    """Takes requests, and gives the answers that it is told to give."""

    model, mode = "fast", "m"

    def __init__(self) -> None:
        self.requests: list[CroppedFaces] = []
        self.in_flight: set[int] = set()
        self.late: list[LateAnswer] = []

    def request(self, cropped: CroppedFaces) -> None:
        self.requests.append(cropped)

    def late_answers(self) -> list[LateAnswer]:
        found, self.late = self.late, []
        return found

    @property
    def tracks(self) -> list[list[int]]:
        return [each.tracked.track_ids.tolist() for each in self.requests]


def answered(
    cropped: CroppedFaces, uncertainty: Sequence[float], answered: Sequence[bool] = ()
) -> ClassifiedFaces:
    n = len(cropped.crops)
    scores = EmotionScores(np.full((n, 8), 1 / 8, np.float32), np.float32(uncertainty))
    is_answered = np.array(answered or [True] * n, bool)
    return ClassifiedFaces(cropped.tracked, scores, cropped.quality, is_answered)


def test_outside_auto_nobody_is_asked_again() -> None:
    for settings in (EmotionSettings(), emotion("fast"), emotion("robust")):
        client, cropped = Robust(), frame(0, [0.0])
        classified = answered(cropped, [1.0])
        client.late = [LateAnswer(1, 0.0, np.zeros(8, np.float32), 1.0)]
        assert Router(settings).ask_robust(client, cropped, classified) == (classified, ())
        assert client.requests == []


def test_the_most_uncertain_faces_are_asked_again_and_the_reason_is_said() -> None:
    """A share of 1 and a cost of 1.5: three faces of fast pay for two of robust."""
    router, client = Router(emotion("auto", share=1.0, cost=1.5, uncertain_above=0.4)), Robust()
    cropped = router(frame(0, [0.0] * 3, numbers=(5, 6, 7)))
    assert cropped.routes == ()
    classified, late = router.ask_robust(client, cropped, answered(cropped, [0.5, 0.625, 0.6]))
    assert client.tracks == [[6, 7]]
    assert [route.name for route in client.requests[0].routes] == ["robust", "robust"]
    assert [one.reason for one in classified.by] == ["", "uncertain 0.62", "uncertain 0.60"]
    assert {(one.model, one.mode) for one in classified.by} == {("fast", "m")}
    assert late == []


def test_faces_that_are_certain_unanswered_or_asked_already_are_not_asked_again() -> None:
    router, client = Router(emotion("auto", share=9.0, cost=1.0, uncertain_above=0.4)), Robust()
    cropped = frame(0, [0.0] * 4, numbers=(1, 2, 3, 4))
    client.in_flight = {3}
    classified = answered(cropped, [0.4, 0.9, 0.9, 0.9], [True, False, True, True])
    router.ask_robust(client, cropped, classified)
    assert client.tracks == [[4]]


def test_a_degraded_face_is_asked_again_with_the_weights_for_it() -> None:
    settings = emotion("auto", fast=FAST, degraded_weights="slow-udc", share=9.0, cost=1.0)
    router, client = Router(settings, under_display=True), Robust()
    cropped = router(frame(0, [0.0]))
    by = (ScoredBy("fast-bad", "m", "under_display"),)
    classified = ClassifiedFaces(
        *(cropped.tracked, answered(cropped, [0.9]).scores, cropped.quality),
        *(np.array([True]), by),
    )
    classified, _ = router.ask_robust(client, cropped, classified)
    assert client.requests[0].routes == (Route("robust", "slow-udc", "uncertain 0.90"),)
    assert classified.by == (ScoredBy("fast-bad", "m", "under_display; uncertain 0.90"),)


@pytest.mark.parametrize("under_display", [None, True])
def test_robust_has_weights_for_degraded_faces_where_fast_has_none(
    under_display: bool | None,
) -> None:
    """Each face for itself, by the threshold of robust; fast scores all with its usual weights."""
    robust = {"degraded_weights": "slow-udc", "degraded_noise": 0.1, "share": 9.0, "cost": 1.0}
    router, client = Router(emotion("auto", **robust), under_display), Robust()
    cropped = router(frame(0, [0.05, 0.2], numbers=(5, 6)))
    assert cropped.routes == ()
    router.ask_robust(client, cropped, answered(cropped, [0.9, 0.8]))
    assert client.tracks == [[5, 6]]
    weights = [route.weights for route in client.requests[0].routes]
    assert weights == (["slow-udc"] * 2 if under_display else ["", "slow-udc"])


def test_late_answers_carry_the_fusion_weight() -> None:
    router, client = Router(emotion("auto", fusion_weight=0.25)), Robust()
    client.late = [LateAnswer(1, 0.0, np.zeros(8, np.float32), 1.0)]
    cropped = frame(0, [])
    _, late = router.ask_robust(client, cropped, answered(cropped, []))
    assert [answer.fusion_weight for answer in late] == [0.25]


@given(
    st.floats(0, 4),
    st.floats(0.01, 50),
    st.lists(st.tuples(st.floats(0, 20), st.integers(0, 5)), max_size=60),
)
def test_the_share_of_compute_is_kept_at_every_moment(
    share: float, cost: float, moments: list[tuple[float, int]]
) -> None:
    bucket = ComputeShare(share, BURST * cost)
    earned = spent = 0.0
    for fast, wanted in moments:
        bucket.earn(fast)
        earned += fast
        at_once = sum(bucket.spend(cost) for _ in range(wanted))
        assert at_once <= BURST
        spent += cost * at_once
        assert spent <= share * earned * (1 + 1e-9)


def test_the_share_is_used_where_everything_is_uncertain() -> None:
    """1,000 faces of fast at a share of 1/2 and a cost of 20: 25 of robust."""
    router, client = Router(emotion("auto", share=0.5, cost=20.0)), Robust()
    for index in range(1000):
        cropped = frame(index, [0.0])
        router.ask_robust(client, cropped, answered(cropped, [1.0]))
    assert len(client.requests) == 25
