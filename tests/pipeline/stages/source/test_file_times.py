"""Recordings that were joined, counters that ran over, formats without stamps."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.stages.source.file import VideoSource
from pipeline.stages.source.looped import LoopedFile

Encode = Callable[..., Path]
NumberOf = Callable[[NDArray[np.uint8]], int]
WRAP = 2**33 / 90_000
"""The clock of MPEG-TS counts 33 bits of 1/90000 s: 26.5 hours."""
PERIOD_S = 1 / 25


def steps_of(path: Path) -> list[float]:
    """Media seconds from each frame to the next."""
    with VideoSource(path, "door", "0123456789ab") as source:
        times = [frame.header.pts_s for frame in source]
        assert source.damage == ""
    return [after - before for before, after in pairwise(times)]


def joined(encode: Encode, *origins_s: float) -> Path:
    """Recordings of 20 frames one after the other, as `cat` joins them."""
    parts = [
        encode(f"{number}.ts", 20, first=round(origin_s / PERIOD_S)).read_bytes()
        for number, origin_s in enumerate(origins_s)
    ]
    path = encode("joined.ts", 1)
    path.write_bytes(b"".join(parts))
    return path


@pytest.mark.parametrize(
    "origins_s",
    [(4000, 10), (10, 4000), (0, 90_000), (90_000, 0), (0, 300, 0), (20_000, 10_000, 15_000, 80)],
)
def test_joined_recordings_follow_each_other(encode: Encode, origins_s: tuple[float, ...]) -> None:
    steps = steps_of(joined(encode, *origins_s))
    assert len(steps) == 20 * len(origins_s) - 1
    assert steps == pytest.approx([PERIOD_S] * len(steps), abs=1e-3)


@pytest.mark.parametrize("gap_s", [2, 30, 50])
def test_a_real_gap_stays(encode: Encode, gap_s: float) -> None:
    steps = steps_of(joined(encode, 0, 20 * PERIOD_S + gap_s))
    # The first recording begins at 0 and is moved by two periods, for its B frames.
    assert max(steps) == pytest.approx(gap_s + PERIOD_S, abs=0.09)
    assert sorted(steps)[-2] == pytest.approx(PERIOD_S, abs=1e-3)


def test_a_counter_that_runs_over(encode: Encode) -> None:
    steps = steps_of(encode("c.ts", 60, first=round((WRAP - 1.4 - 1) / PERIOD_S)))
    assert steps == pytest.approx([PERIOD_S] * 59, abs=1e-3)


def test_a_looped_file_never_sleeps_for_hours(encode: Encode) -> None:
    with LoopedFile(joined(encode, 4000, 10, 90_000), "door", "e1", 0) as source:
        began_s = time.monotonic()
        frames = [frame.header for frame in islice(source, 45)]
    assert max(after.pts_s - before.pts_s for before, after in pairwise(frames)) < 1
    assert time.monotonic() - began_s < 30


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_avi_with_b_frames(encode: Encode, number_of: NumberOf, codec: str) -> None:
    path = encode("c.avi", 45, codec=codec, b_frames=2)
    with VideoSource(path, "door", "0123456789ab") as source:
        frames = list(source)
        assert source.fps == pytest.approx(25)
        assert source.damage == ""
    assert [number_of(frame.image) for frame in frames] == list(range(45))
    times = [frame.header.pts_s for frame in frames]
    assert times == pytest.approx([i * PERIOD_S for i in range(45)], abs=1e-6)


@pytest.mark.needs("data")
@pytest.mark.parametrize(
    ("name", "frames", "longest_s"), [("disc_back.ts", 60, 0.034), ("h264b.avi", 72, 0.034)]
)
def test_the_cases(data: Path, name: str, frames: int, longest_s: float) -> None:
    steps = steps_of(data / "cases" / name)
    assert len(steps) == frames - 1
    assert min(steps) > 0.033
    assert max(steps) < longest_s
