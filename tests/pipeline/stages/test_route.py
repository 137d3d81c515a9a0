"""Which weights score a face: by the noise of its track, without flapping, or as a camera says."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from models.crops import crops_from_tiles
from models.faces import Faces
from models.quality import QualityMeasures, measure
from models.udc.suites import degrade
from pipeline.frames import CroppedFaces, FrameHeader, Route, TrackedFaces
from pipeline.settings import EmotionSettings
from pipeline.stages.route import GOOD, Router
from trainer.data.readers import open_faces

BAD = EmotionSettings(degraded_weights="bad", degraded_noise=0.03)
FPS = 10


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
    return [choose(frame(i, [noise])).choices[0].weights for i, noise in enumerate(noises)]


@pytest.mark.parametrize(
    ("given", "bad"),
    [
        ({}, "resnet18-w36-udc"),
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
    assert EmotionSettings(**given).bad == bad


def test_without_other_weights_nothing_is_chosen() -> None:
    cropped = frame(0, [0.5])
    for under_display in (None, True, False):
        assert Router(EmotionSettings(degraded_weights=""), under_display)(cropped) is cropped


def test_a_noisy_track_gets_the_other_weights_and_the_reason() -> None:
    said = Router(BAD)(frame(0, [0.05, 0.01], numbers=(7, 2)))
    assert said.choices == (Route("bad", "noise 0.050"), GOOD)
    assert Router(BAD)(frame(0, [])).choices == ()


@pytest.mark.parametrize(("under_display", "noise"), [(True, 0.0), (False, 0.5)])
def test_a_camera_that_says_so_is_not_measured(under_display: bool, noise: float) -> None:
    (choice,) = Router(BAD, under_display)(frame(0, [noise])).choices
    assert choice == (Route("bad", "camera under a display") if under_display else GOOD)


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
            if choose(frame(i, [noise])).choices[0].weights:
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
    default = EmotionSettings().degraded_noise

    def above(cell: str) -> float:
        crops = crops_from_tiles(degrade(faces.tiles, faces.ids, faces.name, cell))
        boxes = np.tile(np.float32([0, 0, 48, 48]), (len(crops), 1))
        return float((measure(crops, boxes).noise > default).mean())

    assert above("clean") <= 0.05
    for cell in ("udc_p/3", "udc_p/5", "udc_t/4"):
        assert above(cell) >= 0.9
