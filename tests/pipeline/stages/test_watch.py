from __future__ import annotations

import pytest

from pipeline.frames import ClockName, FrameHeader
from pipeline.stages.watch import LAGGING_MS, Watch


def header(pts_s: float, clock: ClockName = "arrival") -> FrameHeader:
    ms = round(pts_s * 1000)
    return FrameHeader("door", "e1", round(pts_s * 30), pts_s, ms, ms, clock, 64, 48)


@pytest.mark.parametrize(
    ("source_fps", "wanted_fps", "due"),
    [
        (25.0, 5.0, 50),  # a divisor
        (25.0, 10.0, 100),  # none: 2 and 3 frames apart in turn
        (25.0, 40.0, 250),  # more than there are
        (25.0, 0.0, 250),  # all
        (7.0, 5.0, 50),
    ],
)
def test_frames_are_due_at_the_asked_rate(source_fps: float, wanted_fps: float, due: int) -> None:
    watch = Watch("door", "e1")
    times = [index / source_fps for index in range(round(10 * source_fps))]
    found = sum(watch.is_due(header(pts_s), wanted_fps) for pts_s in times)
    assert found == pytest.approx(due, abs=1)


def test_after_a_pause_the_rate_is_not_made_up_for() -> None:
    watch = Watch("door", "e1")
    assert watch.is_due(header(0.0), 5.0)
    assert watch.is_due(header(60.0), 5.0)
    assert not watch.is_due(header(60.1), 5.0)


def test_a_status_at_the_start_at_every_change_and_every_two_seconds() -> None:
    now_ms = [0]
    watch = Watch("door", "e1", lambda: now_ms[0])
    told = []
    for index in range(60):
        pts_s = index / 10
        now_ms[0] = round(pts_s * 1000) + (3 * LAGGING_MS if 2.5 <= pts_s < 3.5 else 100)
        assert watch.is_due(header(pts_s), 0.0)
        told += [(pts_s, status) for status in watch.statuses(header(pts_s))]
    told += [(6.0, status) for status in watch.end("unplugged")]
    assert [(pts_s, status.state) for pts_s, status in told] == [
        (0.0, "online"),
        (2.0, "online"),
        (2.5, "lagging"),
        (3.5, "online"),
        (5.5, "online"),
        (6.0, "offline"),
    ]
    assert [status.seq for _, status in told] == list(range(6))
    assert [status.since_ms for _, status in told] == [0, 0, 2500, 3500, 3500, 5900]
    assert told[1][1].fps == pytest.approx(10, abs=0.6)
    assert told[2][1].lag_ms == 3 * LAGGING_MS
    assert told[-1][1].reason == "unplugged"


def test_a_file_never_lags() -> None:
    watch = Watch("door", "e1", lambda: 10**12)
    (status,) = watch.statuses(header(0.0, "media"))
    assert (status.state, status.lag_ms) == ("online", 0)


def test_a_run_without_a_frame_says_nothing() -> None:
    assert Watch("door", "e1").end("end of file") == []
