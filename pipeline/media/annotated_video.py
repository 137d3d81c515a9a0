"""A clip with everything that was seen drawn on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from models.faces import Float32
from pipeline.frames import Frame, FrameHeader
from pipeline.media.annotate import annotate
from pipeline.media.fit import Fit
from pipeline.media.scene_cuts import SceneCuts
from pipeline.media.still import StillWriter, open_writer
from pipeline.media.video import VideoWriter
from pipeline.records import Event, FaceObserved, TrackUpdated

HOLD_S = 0.5
"""How long a mark stays as it is on frames that are not analysed."""
FADE_S = 0.3
"""How long a mark takes to vanish."""


@dataclass
class _Mark:
    """What was last observed of a track, at `seen_s`; `is_missed`: it was looked for since."""

    observed: FaceObserved
    seen_s: float
    is_missed: bool = False

    def box(self, header: FrameHeader) -> Float32:
        """Its place in a frame, (4,) xyxy pixels."""
        size = np.array([header.width, header.height] * 2, np.float32)
        return np.array(self.observed.box, np.float32) * size

    def opacity(self, now_s: float) -> float:
        """1 while it is certain, 0 once it has vanished."""
        unsure_s = now_s - self.seen_s - (0 if self.is_missed else HOLD_S)
        return min(max(1 - unsure_s / FADE_S, 0.0), 1.0)


class AnnotatedVideo:
    """A context manager that writes every frame it is shown, annotated, at its own media time.

    Label and chart are those of the record: of one observation, not smoothed. Frames that were not
    analysed keep the marks of the last one that was, for a while; the mark of a face that was
    looked for and not found fades. No mark outlives a cut. A frame of another size than the first
    is fitted into that. The name of a picture's file does for one frame.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._fps = path, fps
        self._writer: VideoWriter | StillWriter | None = None
        self._fit: Fit | None = None
        self._marks: dict[int, _Mark] = {}
        self._cuts = SceneCuts()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.__exit__(kind, error, trace)

    def show(self, frame: Frame, events: Sequence[Event], analysed: bool = True) -> None:
        """Draw what the records say of a frame on it, and write it; `analysed`: whether there was
        anything to be said of it."""
        self._fit = self._fit or Fit(frame.header.width, frame.header.height)
        frame, events = self._fit.frame(frame), self._fit.events(events, frame)
        header = frame.header
        if self._writer is None:
            writer = open_writer(self._path, header.width, header.height, self._fps)
            self._writer = writer.__enter__()
        self._cuts.update(frame.image)
        self._update_marks(header, events, analysed)
        marks = list(self._marks.values())
        observed = [mark.observed for mark in marks]
        self._writer.write(
            annotate(
                frame.image,
                np.array([mark.box(header) for mark in marks], np.float32).reshape(-1, 4),
                [face.track for face in observed],
                [face.label for face in observed],
                [face.confidence for face in observed],
                np.array([face.probabilities.values() for face in observed], np.float32),
                [mark.opacity(header.pts_s) for mark in marks],
            ),
            header.pts_s,
        )

    def _update_marks(self, header: FrameHeader, events: Sequence[Event], analysed: bool) -> None:
        """Those that still hold, and those of this frame, in order of their tracks."""
        ended = {e.track for e in events if isinstance(e, TrackUpdated) and e.phase == "end"}
        seen = {e.track: _Mark(e, header.pts_s) for e in events if isinstance(e, FaceObserved)}
        kept: dict[int, _Mark] = {}
        for track, mark in self._marks.items():
            mark.is_missed |= analysed
            gone = track in ended or self._cuts.is_cut or self._cuts.has_changed(mark.box(header))
            if mark.opacity(header.pts_s) > 0 and not gone:
                kept[track] = mark
        self._marks = dict(sorted((kept | seen).items()))
