"""The smoother against what can be worked out by hand, and against noise."""

from __future__ import annotations

import gc
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.emotions import EMOTIONS, UNKNOWN
from pipeline.records import Smoothed
from pipeline.settings import SmootherSettings
from pipeline.stages.smooth import Smoother

PLAIN = SmootherSettings(time_constant_s=0.6, unknown_below=0.0, switch_margin=0.0)
Vector = NDArray[np.float64]
Look = tuple[float, Vector, float]
"""pts_s, probabilities, weight."""

vectors = st.lists(st.floats(0.01, 1), min_size=8, max_size=8).map(lambda v: np.array(v) / sum(v))
weights = st.floats(0.01, 1)
look_lists = st.lists(
    st.tuples(st.integers(0, 5000).map(lambda ms: ms / 1000), vectors, weights),
    min_size=1,
    max_size=12,
).map(lambda looks: sorted(looks, key=lambda look: look[0]))


def sure(label: str, confidence: float = 1.0) -> Vector:
    """`confidence` for one label, the rest spread evenly."""
    vector = np.full(8, (1 - confidence) / 7)
    vector[EMOTIONS.index(label)] = confidence
    return vector


def shown(looks: list[Look], settings: SmootherSettings = PLAIN) -> list[Smoothed]:
    smoother = Smoother(settings)
    return [smoother.update(1, *look) for look in looks]


def labels(looks: list[Look], settings: SmootherSettings = PLAIN) -> list[str]:
    return [smoothed.label for smoothed in shown(looks, settings)]


def same(a: list[Smoothed], b: list[Smoothed]) -> bool:
    return [s.confidence for s in a] == pytest.approx([s.confidence for s in b], abs=2e-6)


@given(vector=vectors, times=st.lists(st.floats(0, 1e4), min_size=1, max_size=20))
def test_the_same_look_again_and_again_is_what_is_shown(vector: Vector, times: list[float]) -> None:
    for smoothed in shown([(at_s, vector, 0.3) for at_s in sorted(times)]):
        assert smoothed.label == EMOTIONS[int(vector.argmax())]
        assert smoothed.confidence == pytest.approx(vector.max(), abs=1e-6)


@given(looks=look_lists)
def test_the_mean_is_the_weighted_sum_over_all_looks(looks: list[Look]) -> None:
    now = looks[-1][0]
    counts = np.array([w * math.exp((at_s - now) / PLAIN.time_constant_s) for at_s, _, w in looks])
    mean = counts @ np.array([vector for _, vector, _ in looks]) / counts.sum()
    assert shown(looks)[-1].confidence == pytest.approx(mean.max(), abs=2e-6)


@pytest.mark.parametrize("time_constant_s", [0.2, 0.6, 3.0])
@pytest.mark.parametrize("fps", [5, 30])
def test_a_change_shows_after_memory_times_ln_2(time_constant_s: float, fps: int) -> None:
    """From one sure label to another the lead changes when half the weight is new."""
    settings = PLAIN.model_copy(update={"time_constant_s": time_constant_s})
    change_s = 10 * time_constant_s
    times = np.arange(0, 15 * time_constant_s, 1 / fps)
    looks = [(t, sure("sadness" if t < change_s else "happiness"), 1.0) for t in times.tolist()]
    first = labels(looks, settings).index("happiness")
    # The first new look counts for the time before it, hence up to a frame early or late.
    assert times[first] - change_s == pytest.approx(time_constant_s * math.log(2), abs=1.01 / fps)


def test_how_long_a_change_takes_does_not_depend_on_how_sure_the_looks_are() -> None:
    def takes(confidence: float) -> int:
        names = ["anger"] * 100 + ["fear"] * 100
        looks = [(i / 30, sure(name, confidence), 1.0) for i, name in enumerate(names)]
        return labels(looks).index("fear")

    assert len({takes(confidence) for confidence in (0.3, 0.6, 0.9, 1.0)}) == 1


@given(looks=look_lists, vector=vectors, at=st.integers(0, 12))
def test_a_look_of_no_weight_changes_nothing(looks: list[Look], vector: Vector, at: int) -> None:
    settings = SmootherSettings()
    at = min(at, len(looks))
    before_s = looks[at - 1][0] if at else 0.0
    more = [*looks[:at], (before_s, vector, 0.0), *looks[at:]]
    with_it = shown(more, settings)
    del with_it[at]
    assert with_it == shown(looks, settings)


def test_looks_of_no_weight_alone_show_nothing() -> None:
    assert shown([(0.0, sure("anger"), 0.0)]) == [Smoothed(label=UNKNOWN, confidence=0)]


@given(looks=look_lists)
def test_twice_the_looks_of_half_the_weight_are_the_same(looks: list[Look]) -> None:
    twice = [(at_s, vector, w / 2) for at_s, vector, w in looks for _ in range(2)]
    assert same(shown(twice)[1::2], shown(looks))


def test_frame_rate_does_not_matter_to_a_slow_change() -> None:
    def drift(fps: int) -> Smoothed:
        times = np.arange(0, 4, 1 / fps)
        looks = [(t, sure("surprise", 0.2 + 0.15 * t), 1.0) for t in times.tolist()]
        return shown([*looks, (4.0, sure("surprise", 0.8), 1e-9)])[-1]

    assert drift(10).confidence == pytest.approx(drift(60).confidence, abs=0.01)


@given(looks=look_lists, shift=st.floats(-1e5, 1e5))
def test_only_time_between_looks_counts(looks: list[Look], shift: float) -> None:
    assert same(shown([(at_s + shift, v, w) for at_s, v, w in looks]), shown(looks))


@given(looks=look_lists, factor=st.floats(1e-3, 1e3))
def test_only_the_weights_beside_each_other_count(looks: list[Look], factor: float) -> None:
    assert same(shown([(at_s, v, w * factor) for at_s, v, w in looks]), shown(looks))


@given(looks=look_lists)
def test_shown_is_a_share_and_a_label(looks: list[Look]) -> None:
    for settings in (SmootherSettings(), PLAIN):
        for smoothed in shown(looks, settings):
            known = smoothed.label != UNKNOWN
            assert not known or smoothed.confidence >= settings.unknown_below - 1e-6


def test_after_a_long_pause_only_the_new_look_counts() -> None:
    looks = [(0.0, sure("anger"), 1.0), (1e6, sure("fear"), 1e-6)]
    assert shown(looks)[-1] == Smoothed(label="fear", confidence=1)


# Hysteresis --------------------------------------------------------------------------------------

FAST = SmootherSettings(time_constant_s=1e-3, unknown_below=0.4, switch_margin=0.1)
"""So short a memory that the mean is the last look."""


def between(anger: float, fear: float) -> Vector:
    vector = np.full(8, (1 - anger - fear) / 6)
    vector[EMOTIONS.index("anger")], vector[EMOTIONS.index("fear")] = anger, fear
    return vector


@pytest.mark.parametrize(
    ("anger_and_fear", "expected"),
    [
        ([(0.5, 0.4), (0.44, 0.46)], "anger anger"),  # leads, but not by the margin
        ([(0.5, 0.4), (0.42, 0.53)], "anger fear"),
        ([(0.5, 0.4), (0.42, 0.53), (0.48, 0.47)], "anger fear fear"),
        ([(0.5, 0.4), (0.39, 0.3)], "anger unknown"),
        ([(0.5, 0.4), (0.39, 0.41)], "anger unknown"),  # the other does not lead by enough
        ([(0.5, 0.4), (0.3, 0.42)], "anger fear"),
        ([(0.41, 0.3)], "anger"),
        ([(0.39, 0.3), (0.41, 0.3)], "unknown unknown"),  # not named again at once
        ([(0.39, 0.3), (0.51, 0.3)], "unknown anger"),
        ([(0.39, 0.3), (0.3, 0.51)], "unknown fear"),
    ],
)
def test_labels_change_only_for_a_clear_lead(
    anger_and_fear: list[tuple[float, float]], expected: str
) -> None:
    looks = [(float(i), between(*pair), 1.0) for i, pair in enumerate(anger_and_fear)]
    assert labels(looks, FAST) == expected.split()


def test_a_sure_face_is_named_whatever_the_bars() -> None:
    settings = FAST.model_copy(update={"unknown_below": 1.0, "switch_margin": 1.0})
    looks = [(0.0, sure("fear", 0.9), 1.0), (1.0, sure("fear"), 1.0), (2.0, sure("anger"), 1.0)]
    assert labels(looks, settings) == [UNKNOWN, "fear", "anger"]


def test_confidence_is_that_of_the_shown_label() -> None:
    looks = [(0.0, between(0.5, 0.4), 1.0), (1.0, between(0.44, 0.46), 1.0)]
    assert shown(looks, FAST)[-1].confidence == pytest.approx(0.44)
    looks.append((2.0, between(0.2, 0.35), 1.0))
    assert shown(looks, FAST)[-1].confidence == pytest.approx(0.35)  # unknown: the highest


def test_a_face_at_the_bar_does_not_flicker_with_unknown() -> None:
    rng = np.random.default_rng(0)
    wobble = 0.4 + rng.normal(size=900) * 0.05
    looks = [(i / 15, sure("anger", float(level)), 1.0) for i, level in enumerate(wobble)]
    raw = [UNKNOWN if level < 0.4 else "anger" for level in wobble]
    smoothed = labels(looks, SmootherSettings(unknown_below=0.4))
    assert flips(raw) > 300
    assert flips(smoothed) <= 4


# Against noise -----------------------------------------------------------------------------------


def flips(names: list[str]) -> int:
    return sum(a != b for a, b in pairwise(names))


def performance(fps: int, rng: np.random.Generator) -> tuple[list[Look], list[str]]:
    """A minute of a face that shows another expression every four seconds, as a classifier that is
    right in six of ten looks sees it; and what it shows."""
    truth = [EMOTIONS[int(t / 4 / fps) % 8] for t in range(60 * fps)]
    logits = rng.normal(size=(len(truth), 8)) * 0.9
    logits[np.arange(len(truth)), [EMOTIONS.index(name) for name in truth]] += 1.6
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return [(i / fps, p, 1.0) for i, p in enumerate(probabilities)], truth


@pytest.mark.parametrize("fps", [5, 10, 30])
def test_labels_flip_far_less_than_looks_and_lag_little(fps: int) -> None:
    looks, truth = performance(fps, np.random.default_rng(fps))
    raw = [EMOTIONS[int(p.argmax())] for _, p, _ in looks]
    smoothed = labels(looks, SmootherSettings(unknown_below=0.0))
    changes = flips(truth)
    assert flips(raw) > 10 * changes
    assert flips(smoothed) < 1.5 * changes
    lags = []
    for i in range(1, len(truth)):
        if truth[i] != truth[i - 1]:
            lags.append(smoothed[i:].index(truth[i]) / fps)
    assert np.median(lags) <= 0.6
    assert np.mean(np.array(smoothed) == truth) > np.mean(np.array(raw) == truth) + 0.15


# State -------------------------------------------------------------------------------------------


def test_tracks_do_not_see_each_other() -> None:
    smoother = Smoother(PLAIN)
    for i in range(10):
        assert smoother.update(1, i / 10, sure("anger"), 1.0).label == "anger"
        assert smoother.update(2, i / 10, sure("fear"), 1.0).label == "fear"


def test_a_dropped_track_is_forgotten() -> None:
    smoother = Smoother(PLAIN)
    smoother.update(1, 5.0, sure("anger"), 1.0)
    smoother.drop(1)
    smoother.drop(7)
    assert smoother.update(1, 0.0, sure("fear"), 1e-3).label == "fear"


def test_nothing_is_kept_of_a_hundred_thousand_tracks() -> None:
    smoother = Smoother(SmootherSettings())
    vector = sure("anger")
    gc.collect()
    before = len(gc.get_objects())
    for track in range(100_000):
        smoother.update(track, track / 10, vector, 1.0)
        smoother.drop(track)
    gc.collect()
    assert len(gc.get_objects()) - before < 100


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="weight"):
        Smoother(PLAIN).update(1, 0.0, sure("anger"), weight)


# Late observations -------------------------------------------------------------------------------


@given(looks=look_lists, data=st.data())
def test_the_mean_does_not_depend_on_the_order_of_arrival(
    looks: list[Look], data: st.DataObject
) -> None:
    """Compared through an observation of next to no weight, so that label and time are the same."""
    order = data.draw(st.permutations(looks))
    last = (looks[-1][0], np.full(8, 1 / 8), 1e-12)
    one, other = Smoother(PLAIN), Smoother(PLAIN)
    for arrived, smoother in ((looks, one), (order, other)):
        for each in arrived:
            smoother.update(1, *each)
        smoother.update(1, *last)
    assert other._tracks[1].mean == pytest.approx(one._tracks[1].mean, abs=1e-9)
    assert other._tracks[1].mass == pytest.approx(one._tracks[1].mass, rel=1e-9)


def test_a_late_observation_counts_by_its_age() -> None:
    """Half a time constant old when it arrives: exp(-1/2) beside 1."""
    smoother = Smoother(PLAIN)
    smoother.update(1, 2.0, sure("anger"), 1.0)
    late = math.exp(-0.5)
    smoothed = smoother.update(1, 2.0 - PLAIN.time_constant_s / 2, sure("fear"), 1.0)
    assert smoothed == Smoothed(label="anger", confidence=round(1 / (1 + late), 6))
    again = smoother.update(1, 2.0 - PLAIN.time_constant_s / 2, sure("fear"), 1.0)
    assert again == Smoothed(label="fear", confidence=round(2 * late / (1 + 2 * late), 6))


def test_an_observation_too_old_to_count_changes_nothing() -> None:
    smoother = Smoother(PLAIN)
    shown = smoother.update(1, 1e6, sure("anger"), 1.0)
    assert smoother.update(1, 0.0, sure("fear"), 1.0) == shown
