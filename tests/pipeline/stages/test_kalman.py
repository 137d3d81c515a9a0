"""The filter against its own model: exact noise, exact time, any scale."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stages.kalman import (
    ACCELERATION_NOISE,
    DECAY_S,
    MEASUREMENT_NOISE,
    BoxMotion,
    sides,
    to_boxes,
    to_measures,
)

BOX = np.float32([[100, 50, 180, 150]])


def test_measures_of_a_box_and_back() -> None:
    measures = to_measures(BOX)
    assert measures[0] == pytest.approx([140, 100, np.log(80), np.log(100)])
    assert to_boxes(measures) == pytest.approx(BOX)
    assert sides(measures) == pytest.approx(np.sqrt(80 * 100))


def test_a_box_without_area_has_finite_measures() -> None:
    assert np.isfinite(to_measures(np.float32([[5, 5, 5, 5], [9, 9, 2, 2]]))).all()


def test_a_still_face_stays_where_it_is() -> None:
    measure = to_measures(BOX)[0]
    motion = BoxMotion(measure)
    for _ in range(20):
        motion.predict(0.1)
        motion.correct(measure)
    assert motion.place == pytest.approx(measure)
    assert motion.velocity == pytest.approx(np.zeros(4))


def test_a_steady_walk_is_foreseen() -> None:
    def place_at(seconds: float) -> np.ndarray:
        return to_measures(BOX)[0] + np.array([90, -45, 0.2, 0.2]) * seconds

    motion = BoxMotion(place_at(0))
    for look in range(1, 20):
        motion.predict(0.1)
        motion.correct(place_at(look * 0.1))
    motion.predict(0.1)
    error = (motion.place - place_at(2.0))[:2] / sides(motion.place)
    assert np.abs(error).max() < 0.01


def test_a_face_that_is_not_seen_comes_to_rest() -> None:
    motion = BoxMotion(to_measures(BOX)[0])
    motion.velocity = np.array([100.0, 0.0, 0.0, 0.0])
    motion.predict(20 * DECAY_S)
    assert motion.place[0] == pytest.approx(140 + 100 * DECAY_S)
    assert motion.velocity == pytest.approx(np.zeros(4), abs=1e-6)


@given(first=st.floats(0, 2), second=st.floats(0, 2))
def test_time_may_pass_in_any_number_of_steps(first: float, second: float) -> None:
    at_once, in_two = BoxMotion(to_measures(BOX)[0]), BoxMotion(to_measures(BOX)[0])
    at_once.velocity = in_two.velocity = np.array([70.0, -20.0, 0.0, 0.0])
    at_once.predict(first + second)
    in_two.predict(first)
    in_two.predict(second)
    assert in_two.place == pytest.approx(at_once.place)
    assert in_two.velocity == pytest.approx(at_once.velocity)
    assert in_two.spread() == pytest.approx(at_once.spread())
    for motion in (at_once, in_two):
        motion.correct(to_measures(BOX + 8)[0])
    assert in_two.velocity == pytest.approx(at_once.velocity)


@given(scale=st.sampled_from([0.25, 0.5, 2, 8]))
def test_a_larger_face_moves_and_jitters_in_proportion(scale: float) -> None:
    small, large = BoxMotion(to_measures(BOX)[0]), BoxMotion(to_measures(BOX * scale)[0])
    for shift in (3, 9, 4):
        for motion, factor in ((small, 1), (large, scale)):
            motion.predict(0.2)
            motion.correct(to_measures((BOX + shift) * factor)[0])
    assert large.place[:2] == pytest.approx(small.place[:2] * scale)
    assert large.spread() == pytest.approx(small.spread())


def test_spread_is_the_true_error_of_a_face_that_moves_as_modelled() -> None:
    """A world with exactly this noise: errors over spreads have variance 1."""
    rng = np.random.default_rng(0)
    step_s, substeps, side = 0.1, 20, float(sides(to_measures(BOX)[0]))
    small_s, place, velocity = step_s / substeps, to_measures(BOX)[0], np.zeros(4)
    motion, errors = BoxMotion(place), []
    for _ in range(1500):
        for _ in range(substeps):
            place = place + velocity * small_s
            push = rng.normal(size=4) * ACCELERATION_NOISE * side * np.sqrt(small_s) * [1, 1, 0, 0]
            velocity = velocity * np.exp(-small_s / DECAY_S) + push
        seen = place + rng.normal(size=4) * MEASUREMENT_NOISE * [side, side, 0, 0]
        motion.predict(step_s)
        errors.append((seen - motion.place)[:2] / side / motion.spread())
        motion.correct(seen)
    assert np.mean(np.square(errors)) == pytest.approx(1, abs=0.1)
