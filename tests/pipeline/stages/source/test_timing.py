"""Media time and capture time, whatever the time stamps say."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stages.source.timing import (
    AHEAD_S,
    BACK_S,
    HOLD_S,
    MIN_STEP_S,
    PROBATION_S,
    CameraClock,
    LiveTime,
    MediaTime,
)

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


NOW_MS = 1_800_000_000_000
FPS = 25
At = Callable[[int], float]


@dataclass(frozen=True)
class OnFrame:
    """What became of a sequence, an entry a picture."""

    pts_s: list[float]
    captured_ms: list[int]
    received_ms: list[int]
    clocks: list[str]
    is_stamp_used: list[bool]

    def error_ms(self, latency_ms: float = 40) -> float:
        """By how much the time of capture is off at most, where the camera's clock counts."""
        pairs = zip(self.captured_ms, self.received_ms, self.clocks, strict=True)
        return max(abs(c - r + latency_ms) for c, r, clock in pairs if clock == "rtcp")


def play(
    seconds: float,
    stamp_off_s: At = lambda n: 0.0,
    report_off_s: At = lambda n: 0.0,
    late_s: At = lambda n: 0.04,
    fps: float = FPS,
) -> OnFrame:
    """A camera of `fps`: how far stamp and report of picture n are off, and how late it comes. As
    FFmpeg does, the camera's time of a picture is reckoned from its stamp."""
    live_time, clock = LiveTime(), CameraClock()
    seen = OnFrame([], [], [], [], [])
    arrived_s = 0.0
    for n in range(round(seconds * fps)):
        taken_s = 500 + n / fps
        arrived_s = max(arrived_s, taken_s + late_s(n))
        received_ms = NOW_MS + round(arrived_s * 1000)
        camera_ms = NOW_MS + (taken_s + stamp_off_s(n) + report_off_s(n)) * 1000
        seen.pts_s.append(live_time.of(n / fps + stamp_off_s(n), arrived_s))
        seen.is_stamp_used.append(live_time.is_stamp_used)
        captured_ms, name = clock.estimate_capture(camera_ms, received_ms, arrived_s)
        seen.captured_ms.append(captured_ms)
        seen.received_ms.append(received_ms)
        seen.clocks.append(name)
    assert np.all(np.diff(seen.pts_s) > 0)
    assert np.all(np.diff(seen.captured_ms) >= 0)
    return seen


@pytest.mark.parametrize(
    "off_s", [-9800, 9800, -40_000, 38_000, 3600, -5, 5, -3, 3, -1.5, 1.5, 0.5]
)
@pytest.mark.parametrize("every", [50, 7, 2.1], ids=str)
def test_single_stamps_that_are_off(off_s: float, every: float) -> None:
    seen = play(60, lambda n: off_s if n and n % every < 1 else 0)
    assert set(seen.clocks) == {"rtcp"}
    assert seen.error_ms() <= 1
    assert np.ptp(np.diff(seen.pts_s)) < 0.01
    assert seen.pts_s[-1] == pytest.approx(60 - 1 / FPS, abs=0.05)


def test_the_first_stamp_is_off() -> None:
    """All that come after are off from it, until they have the majority."""
    seen = play(40, lambda n: -9800 if n % 50 == 0 else 0)
    since = round((PROBATION_S + 1) * FPS)
    assert set(seen.clocks[since:]) == {"rtcp"}
    assert seen.pts_s[-1] == pytest.approx(40, abs=0.2)
    assert seen.is_stamp_used[-1]


@pytest.mark.parametrize("length_s", [0.2, 1, 5, 9])
def test_bursts_each_by_another_amount(length_s: float) -> None:
    chance = random.Random(7)
    amounts = [chance.uniform(-1e5, 1e5) for _ in range(10_000)]
    seen = play(80, lambda n: amounts[n] if n % (20 * FPS) > (20 - length_s) * FPS else 0)
    assert set(seen.clocks) == {"rtcp"}
    assert seen.error_ms() <= 1
    assert seen.pts_s[-1] == pytest.approx(80, abs=0.1)


def test_a_recorders_clock_is_set() -> None:
    """Stamps and reports jump for good: nothing is lost, and both count again."""
    for off_s in (-7200, 4, 7200, 1e6):
        seen = play(60, lambda n, off_s=off_s: off_s if n > 500 else 0, lambda n: 0)
        assert seen.pts_s[-1] == pytest.approx(60, abs=0.1)
        assert seen.is_stamp_used[-1]
        # The reports speak of stamps: here they were not set with them, and are wrong for good.
        assert seen.clocks[400] == "rtcp"
        assert seen.clocks[-1] == "arrival"
        with_reports = play(
            60,
            lambda n, off_s=off_s: off_s if n > 500 else 0,
            lambda n, off_s=off_s: -off_s if n > 600 else 0,
        )
        assert set(with_reports.clocks) == {"rtcp"}
        assert with_reports.pts_s[-1] == pytest.approx(60, abs=0.1)


@pytest.mark.parametrize("off_s", [-7200, -3, -0.5, 1.0, 1.9, 3, 7200])
def test_reports_that_are_wrong_for_a_while(off_s: float) -> None:
    short = play(60, report_off_s=lambda n: off_s if 500 < n < 500 + (HOLD_S - 1) * FPS else 0)
    assert set(short.clocks) == {"rtcp"}
    if abs(off_s) > 0.5:
        assert short.error_ms() <= 1
    long = play(120, report_off_s=lambda n: off_s if 500 < n < 1500 else 0)
    assert long.clocks[400] == long.clocks[-1] == "rtcp"
    assert long.pts_s[-1] == pytest.approx(120, abs=0.1)
    if not -5 < off_s <= 2:
        assert long.clocks[1400] == "arrival"


@pytest.mark.parametrize("off_s", [-3600, -6, 3, 30, 3600])
def test_a_camera_whose_clock_is_off(off_s: float) -> None:
    """Single wrong stamps that happen to bring it right change nothing."""
    seen = play(60, lambda n: -off_s if n % 50 == 49 else 0, lambda n: off_s)
    assert set(seen.clocks) == {"arrival"}
    assert seen.captured_ms == seen.received_ms


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.8, 1.5, 3.0])
def test_stamps_that_tell_no_time(rate: float) -> None:
    """They stand still, or go at another pace than time."""
    seen = play(120, lambda n: (rate - 1) * n / FPS)
    late = slice(-60 * FPS, None)
    assert seen.pts_s[-1] - seen.pts_s[-60 * FPS] == pytest.approx(60, abs=0.1)
    assert set(seen.clocks[late]) == {"arrival"}
    assert not any(seen.is_stamp_used[late])


@pytest.mark.parametrize("fps", [0.2, 1, 5, 25, 60])
@pytest.mark.parametrize("stall_s", [0.5, 2.0, 4.0])
def test_a_network_that_stands_still_is_no_fault_of_the_clock(fps: float, stall_s: float) -> None:
    """Then all that waited comes at once; and so it begins, as a server's buffer has some."""

    def late_s(n: int) -> float:
        since_s = n / fps % 20
        return 0.04 + max(stall_s - since_s, 0)

    seen = play(120, late_s=late_s, fps=fps)
    assert all(seen.is_stamp_used)
    assert set(seen.clocks) == {"rtcp"}
    np.testing.assert_allclose(seen.pts_s, np.arange(len(seen.pts_s)) / fps, atol=1e-6)


@pytest.mark.parametrize("ppm", [-200, 200])
def test_clocks_that_run_at_slightly_different_rates(ppm: float) -> None:
    seen = play(3600, lambda n: ppm * 1e-6 * n / FPS)
    assert all(seen.is_stamp_used)
    assert set(seen.clocks) == {"rtcp"}


def test_no_report_yet() -> None:
    clock = CameraClock()
    assert clock.estimate_capture(None, NOW_MS, 1.0) == (NOW_MS, "arrival")
    assert clock.estimate_capture(NOW_MS + 0.4, NOW_MS + 40, 1.04) == (NOW_MS, "rtcp")
    assert clock.estimate_capture(None, NOW_MS + 80, 1.08) == (NOW_MS + 40, "rtcp")
    clock.start_connection()
    assert clock.estimate_capture(None, NOW_MS + 120, 1.12) == (NOW_MS + 120, "arrival")
