from __future__ import annotations

import pytest

from pipeline.stages.frame_sampler import FrameSampler


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
    pace = FrameSampler(wanted_fps)
    times = [index / source_fps for index in range(round(10 * source_fps))]
    found = sum(pace.is_due(pts_s) for pts_s in times)
    assert found == pytest.approx(due, abs=1)
    assert pace.skipped == len(times) - found


def test_after_a_pause_the_rate_is_not_made_up_for() -> None:
    pace = FrameSampler(5.0)
    assert pace.is_due(0.0)
    assert pace.is_due(60.0)
    assert not pace.is_due(60.1)
