from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stages.source.timing import AHEAD_S, BACK_S, MIN_STEP_S, MediaTime

STAMPS = st.lists(st.none() | st.floats(-1e6, 1e6), max_size=40)


@given(STAMPS, st.sampled_from([1 / 25, 1 / 240, 2.0]))
def test_starts_at_zero_and_always_rises(stamps: list[float | None], period_s: float) -> None:
    clock = MediaTime(period_s)
    times = [clock.of(stamp) for stamp in stamps]
    assert times[:1] in ([], [0.0])
    assert all(after > before for before, after in pairwise(times))


@given(STAMPS, st.sampled_from([1 / 25, 1 / 240, 2.0]))
def test_no_step_is_longer_than_the_bound(stamps: list[float | None], period_s: float) -> None:
    clock = MediaTime(period_s)
    times = [clock.of(stamp) for stamp in stamps]
    assert all(after - before <= AHEAD_S + 1e-6 for before, after in pairwise(times))


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=40), st.floats(-1e5, 1e5))
def test_rising_stamps_are_kept(steps_ms: list[int], origin_s: float) -> None:
    clock, elapsed_s = MediaTime(1 / 25), 0.0
    clock.of(origin_s)
    for step_ms in steps_ms:
        elapsed_s += step_ms / 1000
        assert clock.of(origin_s + elapsed_s) == pytest.approx(elapsed_s, abs=1e-6)


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([], []),
        ([None, None, None], [0.0, 0.5, 1.0]),  # a raw stream: by the rate
        ([None, 8.0, 8.25], [0.0, 0.5, 0.75]),  # the first one missing, as cameras do
        ([3.0, 3.5, None, 4.25], [0.0, 0.5, 1.0, 1.25]),
        ([0.0, 0.4, 0.4, 0.9], [0.0, 0.4, 0.4 + MIN_STEP_S, 0.9]),  # one stamp twice
        ([0.0, 0.4, 0.2, 0.9], [0.0, 0.4, 0.4 + MIN_STEP_S, 0.9]),  # a little back
        ([60.0, 62.0, 0.0, 0.25], [0.0, 2.0, 2.5, 2.75]),  # joined: a new time line
        ([0.0, 30.0, 31.0], [0.0, 30.0, 31.0]),  # nothing for long: a still camera
        ([0.0, AHEAD_S, AHEAD_S + 1], [0.0, AHEAD_S, AHEAD_S + 1]),  # a gap at the bound stays
        ([0.0, AHEAD_S + 1, AHEAD_S + 2], [0.0, 0.5, 1.5]),  # joined: the second was later
        ([9.0, 95443.0, 9.5, 10.0], [0.0, 0.5, 1.0, 1.5]),  # one stamp hours off
        ([9.0, 9.0 - BACK_S, 9.5], [0.0, MIN_STEP_S, 0.5]),  # back at the bound: held
        ([95443.5, 0.0, 0.5], [0.0, 0.5, 1.0]),  # the 33 bits of MPEG ran over
    ],
)
def test_table(stamps: list[float | None], expected: list[float]) -> None:
    clock = MediaTime(period_s=0.5)
    assert [clock.of(stamp) for stamp in stamps] == pytest.approx(expected)


def test_a_time_lapse_is_no_leap() -> None:
    """Its frames are minutes apart, by its own rate."""
    clock = MediaTime(period_s=120.0)
    assert [clock.of(stamp) for stamp in (0, 120, 360, 480)] == [0, 120, 360, 480]


def test_a_splice_begins_a_new_time_line_after_the_gap() -> None:
    times = MediaTime(period_s=0.04)
    assert [times.of(7.0), times.of(7.04)] == [0.0, pytest.approx(0.04)]
    times.splice(3.0)
    assert [times.of(900.0), times.of(900.5)] == [pytest.approx(3.04), pytest.approx(3.54)]
    times.splice(-1.0)
    assert times.of(0.0) == pytest.approx(3.58)
