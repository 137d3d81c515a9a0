"""A clip with everything that was seen drawn on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from pipeline.frames import Frame
from pipeline.records import Event, FaceObserved
from pipeline.stages.annotate import annotate
from pipeline.stages.fit import Fit
from pipeline.stages.still import StillWriter, open_writer
from pipeline.stages.video import VideoWriter


class Film:
    """A context manager that writes every frame it is shown, annotated, at its own media time.

    A frame of another size than the first is fitted into that. The name of a picture's file does
    for one frame. A frame that was not analysed keeps the marks of the last one that was.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._fps = path, fps
        self._writer: VideoWriter | StillWriter | None = None
        self._fit: Fit | None = None
        self._marks: list[FaceObserved] = []

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

    def show(self, frame: Frame, events: Sequence[Event]) -> None:
        """Draw a frame's observations on it and write it."""
        self._fit = self._fit or Fit(frame.header.width, frame.header.height)
        frame, events = self._fit.frame(frame), self._fit.events(events, frame)
        header = frame.header
        if self._writer is None:
            writer = open_writer(self._path, header.width, header.height, self._fps)
            self._writer = writer.__enter__()
        if events:
            self._marks = [event for event in events if isinstance(event, FaceObserved)]
        marks = self._marks
        size = np.array([header.width, header.height] * 2, np.float32)
        boxes = np.array([mark.box for mark in marks], np.float32).reshape(-1, 4) * size
        self._writer.write(
            annotate(
                frame.image,
                boxes,
                [mark.track for mark in marks],
                [mark.smoothed.label for mark in marks],
                [mark.smoothed.confidence for mark in marks],
                np.array([mark.probabilities.values() for mark in marks], np.float32),
            ),
            header.pts_s,
        )
