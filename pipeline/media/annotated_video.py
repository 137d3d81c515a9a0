"""A clip with every face marked on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from models.faces import Float32
from pipeline.frames import Frame, FrameHeader
from pipeline.media.annotate import annotate
from pipeline.media.video import FrameFit, ImageWriter, VideoWriter, open_writer
from pipeline.records import Event, FaceObserved, TrackUpdated

HOLD_S = 0.5
"""How long a mark stays unchanged on frames that are not analysed."""
FADE_S = 0.3
"""How long a mark takes to vanish."""


@dataclass
class _Mark:
    """The last observation of a track, at `seen_s`; `is_missed`: an analysed frame since then does
    not have it."""

    observed: FaceObserved
    seen_s: float
    is_missed: bool = False

    def box(self, header: FrameHeader) -> Float32:
        """Its place in a frame, (4,) xyxy pixels."""
        size = np.array([header.width, header.height] * 2, np.float32)
        return np.array(self.observed.box, np.float32) * size

    def opacity(self, now_s: float) -> float:
        """1 while it holds, falling to 0 as it fades."""
        overdue_s = now_s - self.seen_s - (0 if self.is_missed else HOLD_S)
        return min(max(1 - overdue_s / FADE_S, 0.0), 1.0)


class AnnotatedVideo:
    """A context manager that writes every frame it is given, annotated, at its own media time.

    Label and chart are those of one observation, not smoothed. Frames that were not analysed keep
    the marks of the last one that was, for HOLD_S; the mark of a face that an analysed frame no
    longer has fades. No mark outlives a cut. A frame of another size than the first is fitted into
    that. For a single frame, `path` may be that of an image.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._fps = path, fps
        self._writer: VideoWriter | ImageWriter | None = None
        self._fit: FrameFit | None = None
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

    def write(self, frame: Frame, events: Sequence[Event], analysed: bool = True) -> None:
        """Draw the records of a frame on it, and write it; `analysed`: whether it was analysed."""
        self._fit = self._fit or FrameFit(frame.header.width, frame.header.height)
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
        """Keep the marks that still hold, and add those of this frame, in order of their tracks."""
        ended = {e.track for e in events if isinstance(e, TrackUpdated) and e.phase == "end"}
        seen = {e.track: _Mark(e, header.pts_s) for e in events if isinstance(e, FaceObserved)}
        kept: dict[int, _Mark] = {}
        for track, mark in self._marks.items():
            mark.is_missed |= analysed
            gone = track in ended or self._cuts.is_cut or self._cuts.has_changed(mark.box(header))
            if mark.opacity(header.pts_s) > 0 and not gone:
                kept[track] = mark
        self._marks = dict(sorted((kept | seen).items()))


Image = NDArray[np.uint8]
SCENE = 0.03
"""Least score of a cut, as a share of full brightness. Measured: 0.015 at most within clips of 25
and of 5 frames a second, 0.04 at least at cuts between moments of one scene."""
PATCH = 0.12
"""The same within one box, where a moving face changes most pixels."""
SMALL, TINY = (64, 36), (16, 16)
"""Width and height at which whole frames, and the contents of boxes, are compared."""


class SceneCuts:
    """Compares each frame with the one before.

    The score is that of FFmpeg's `scdet`: the mean absolute difference of two frames, or how far
    it differs from the one before where that is less. So steady motion is no cut.
    """

    def __init__(self) -> None:
        self._before: Image | None = None
        self._now: Image | None = None
        self._difference = 0.0
        self.is_cut = False
        """Whether the last frame begins another scene."""

    def update(self, image: Image) -> None:
        """Compare the next frame, (height, width, 3) uint8 RGB."""
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
        self._before, self._now = self._now, grey
        if self._before is None or self._before.shape != grey.shape:
            self.is_cut = self._before is not None
            self._before = grey
            return
        difference = _difference(self._before, grey, SMALL)
        self.is_cut = min(difference, abs(difference - self._difference)) >= SCENE
        self._difference = difference

    def has_changed(self, box: Float32) -> bool:
        """Whether a box (4,), xyxy pixels, shows something else than in the frame before."""
        if self._before is None or self._now is None:
            return False
        height, width = self._now.shape
        x0, x1 = np.clip((round(float(box[0])), round(float(box[2]))), 0, width)
        y0, y1 = np.clip((round(float(box[1])), round(float(box[3]))), 0, height)
        if x0 >= x1 or y0 >= y1:
            return False
        place = np.s_[y0:y1, x0:x1]
        return _difference(self._before[place], self._now[place], TINY) >= PATCH


def _difference(a: Image, b: Image, size: tuple[int, int]) -> float:
    """Mean absolute difference of two grey images of one shape, 0..1."""
    small = [cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in (a, b)]
    return float(cv2.absdiff(*small).mean()) / 255
