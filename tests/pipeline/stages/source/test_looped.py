from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.media.video import VideoWriter
from pipeline.stages.source.looped import LoopedFile

FRAMES, FPS = 10, 50


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 64, 48, FPS) as writer:
        for _ in range(FRAMES):
            writer.write(np.zeros((48, 64, 3), np.uint8))
    return path


def test_it_goes_round_and_its_time_goes_on(clip: Path) -> None:
    with LoopedFile(clip, "door", "e1", 0) as source:
        frames = [frame.header for frame in islice(source, 25)]
    assert [frame.index for frame in frames] == sorted({frame.index for frame in frames})
    assert source.counts().decoded == frames[-1].index + 1
    assert source.counts().decoded == len(frames) + sum(source.counts().shed.values())
    times = np.array([frame.pts_s for frame in frames])
    expected = np.array([frame.index for frame in frames]) / FPS
    np.testing.assert_allclose(times, expected, atol=1e-6)
    assert {(frame.run, frame.clock) for frame in frames} == {("e1", "arrival")}


def test_who_is_slow_misses_frames_and_every_one_is_counted(clip: Path) -> None:
    now_ms = [0]

    def clock() -> int:
        now_ms[0] += 1
        return now_ms[0]

    with LoopedFile(clip, "door", "e1", 0, clock=clock) as source:
        seen = 0
        for frame in source:
            assert frame.header.received_ms - frame.header.captured_ms <= 1000 / FPS
            seen += 1
            now_ms[0] += 70  # three periods and a half for every frame
            if seen == 12:
                break
    assert source.counts().shed.get("newer", 0) >= seen
    assert source.counts().decoded == seen + sum(source.counts().shed.values())


@pytest.mark.parametrize("busy_ms", [70, 250])
def test_only_due_frames_count_as_missed(clip: Path, busy_ms: int) -> None:
    """Ten due frames a second: 100 ms from one to the next, five pictures of the file."""
    now_ms = [0]

    def clock() -> int:
        now_ms[0] += 1
        return now_ms[0]

    times = []
    with LoopedFile(clip, "door", "e1", 10, clock=clock) as source:
        for frame in islice(source, 12):
            times.append(round(frame.header.pts_s * 10))
            assert frame.header.received_ms - frame.header.captured_ms <= 100
            now_ms[0] += busy_ms
    assert source.counts().decoded == len(times) + source.counts().skipped + sum(
        source.counts().shed.values()
    )
    assert source.counts().skipped >= 4 * (len(times) - 1)
    assert sum(source.counts().shed.values()) == times[-1] + 1 - len(times)
    assert bool(source.counts().shed) == (busy_ms > 100)


def test_a_file_that_goes_away_is_named(clip: Path) -> None:
    with LoopedFile(clip, "door", "e1", 0) as source:
        frames = iter(source)
        next(frames)
        clip.unlink()
        with pytest.raises(InputError, match="no such file"):
            list(frames)
