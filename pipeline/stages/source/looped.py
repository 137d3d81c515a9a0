"""A file as a live camera: played in real time, again and again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from models.frame_size import DEFAULT_LIMIT, FrameLimit
from pipeline.clock import Clock, wall_clock
from pipeline.closing import Closing
from pipeline.frames import Counts, Frame
from pipeline.stages.frame_sampler import FrameSampler
from pipeline.stages.source.base import Source
from pipeline.stages.source.file import VideoSource


class LoopedFile(Closing, Source):
    """Frames without end, stamped with the wall time at which they are due.

    `analyse_fps` frames a second of media time are yielded, the others are skipped. A slow consumer
    misses frames, as with a camera: a frame that comes later than its successor is due is shed,
    counted as "newer". Media time continues from one round to the next. Raises InputError for a
    file that cannot be opened, also when it is gone at a later round.
    """

    is_live = True
    ending = "stopped"

    def __init__(
        self,
        url: str | Path,
        camera: str,
        run: str,
        analyse_fps: float,
        *,
        clock: Clock = wall_clock,
        limit: FrameLimit = DEFAULT_LIMIT,
    ) -> None:
        self.camera, self.run = camera, run
        self.sampler = FrameSampler(0)  # what is yielded has been sampled already
        self._decoded = 0
        self._shed: Counter[str] = Counter()
        self._url, self._clock, self._limit = url, clock, limit
        self._sampler = FrameSampler(analyse_fps)
        self._successor_s = 1 / analyse_fps if analyse_fps else 0.0
        self._round = self._open_round()
        self.fps = analyse_fps or self._round.fps

    def close(self) -> None:
        """Close the file."""
        self._round.close()

    def counts(self) -> Counts:
        """decoded = frames yielded + skipped + all of shed."""
        return Counts(self._decoded, self._sampler.skipped, dict(self._shed))

    def __iter__(self) -> Iterator[Frame]:
        begins_s = 0.0
        while True:
            period_s = 1 / self._round.fps
            late_ms = 1000 * max(period_s, self._successor_s)
            pts_s = begins_s
            for frame in self._round:
                header = frame.header
                pts_s = begins_s + header.pts_s
                index, self._decoded = self._decoded, self._decoded + 1
                if not self._sampler.is_due(pts_s):
                    continue
                if header.received_ms - header.captured_ms > late_ms:
                    self._shed["newer"] += 1
                else:
                    yield Frame(replace(header, index=index, pts_s=pts_s), frame.pixels)
            begins_s = pts_s + period_s
            self._round.close()
            self._round = self._open_round()

    def _open_round(self) -> VideoSource:
        return VideoSource(
            *(self._url, self.camera, self.run),
            clock=self._clock,
            realtime=True,
            limit=self._limit,
        )
