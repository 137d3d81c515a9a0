"""Which face is whose: the boxes of successive frames become tracks, in media seconds.

A face has no id, and is not in the output, until it has been seen for `confirm_s`, beginning with a
confident box. A weak box goes on with a face but never begins one (Zhang et al. 2022, arXiv
2110.06864). A track ends when its face has not been found for `lost_s`. Only looks prove absence: a
face that was there in the frame before may be met again after any pause, so that a clip sampled
once a second has tracks too. Of a picture, or a clip too short to wait in, every look counts: there
`confirm_s` is 0 (see `pipeline.live.stage_runner`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from models.faces import Faces, Float32, iou
from pipeline.frames import FrameHeader, TrackedFaces
from pipeline.settings import TrackerSettings
from pipeline.stages.kalman import BoxMotion, Float64, sides, to_boxes, to_measures

GATE = 3.0
"""A box so many standard deviations from its predicted place is another face's."""
SIZE_RATIO = 2.0
"""So is a box so many times larger or smaller."""
WEAK_REACH = 0.5
"""A weak box proves less: it must lie within this share of the reach. Without the limit, false weak
boxes beside the faces broke a quarter more tracks; at 0.25, fast faces at 5 fps did."""
SLACK_S = 1e-4
"""Media times are rounded: the fourth frame of 20 fps is 0.15 s after the first."""
Rows = NDArray[np.intp]


@dataclass(eq=False)
class _Track:
    motion: BoxMotion
    first_s: float
    seen_s: float
    row: int | None  # its face in the last frame looked at
    id: int = 0  # from birth on, 1 or more


class Tracker:
    """The tracks of one camera run. Ids count from 1 in order of birth and are never used again.

    The same frames give the same ids, in whatever order the faces of a frame come.
    """

    def __init__(self, settings: TrackerSettings) -> None:
        self._settings = settings
        self._tracks: list[_Track] = []
        self._births = 0
        self._now_s = -np.inf
        self._size: tuple[int, int] | None = None

    def update(self, header: FrameHeader, faces: Faces) -> TrackedFaces:
        """The frame's faces that have a track, in order of id and with the detector's boxes; and
        the ids given up.

        Raises ValueError for a frame older than the last one.
        """
        faces = faces[np.lexsort(faces.boxes.T)]
        self._take_size(header.width, header.height)
        self._pass_time(header.pts_s)
        ended = self._give_up()
        self._continue(faces)
        ended += self._give_up()
        self._give_birth()
        shown = sorted((t.id, t.row) for t in self._tracks if t.id and t.row is not None)
        return TrackedFaces(
            header,
            faces[np.array([row for _, row in shown], np.intp)],
            np.array([id for id, _ in shown], np.int64),
            ended,
        )

    def finish(self) -> tuple[int, ...]:
        """The run is over: the ids that were still open."""
        open_ids = tuple(track.id for track in self._tracks if track.id)
        self._tracks = []
        return open_ids

    def _take_size(self, width: int, height: int) -> None:
        """Faces keep their places in the picture when a stream changes its resolution."""
        if self._size is not None and self._size != (width, height):
            for track in self._tracks:
                track.motion.rescale(width / self._size[0], height / self._size[1])
        self._size = width, height

    def _pass_time(self, now_s: float) -> None:
        if now_s < self._now_s:
            raise ValueError(f"pts_s: expected {self._now_s} or later, got {now_s}")
        for track in self._tracks:
            track.motion.predict(now_s - self._now_s)
        self._now_s = now_s

    def _give_up(self) -> tuple[int, ...]:
        """Drop the tracks that the last look did not find and that have waited too long."""
        gone = [t for t in self._tracks if t.row is None and self._is_overdue(t)]
        self._tracks = [track for track in self._tracks if track not in gone]
        return tuple(track.id for track in gone if track.id)

    def _is_overdue(self, track: _Track) -> bool:
        patience_s = self._settings.lost_s if track.id else self._settings.confirm_s
        return self._now_s - track.seen_s > patience_s + SLACK_S

    def _continue(self, faces: Faces) -> None:
        """Each face to its track, the confident ones first; those left over begin a track."""
        confident = faces.scores >= self._settings.start_score
        for track in self._tracks:
            track.row = None
        strong, weak = np.flatnonzero(confident), np.flatnonzero(~confident)
        self._match(self._tracks, faces.boxes, strong, self._settings.max_distance)
        unmet = [track for track in self._tracks if track.row is None]
        self._match(unmet, faces.boxes, weak, WEAK_REACH * self._settings.max_distance)
        taken = {track.row for track in self._tracks}
        for row in strong.tolist():
            if row not in taken:
                motion = BoxMotion(to_measures(faces.boxes[[row]])[0])
                self._tracks.append(_Track(motion, self._now_s, self._now_s, row))

    def _match(self, tracks: list[_Track], boxes: Float32, rows: Rows, reach: float) -> None:
        """Give each of the tracks at most one of the boxes in `rows`, at the least total cost."""
        if not tracks or not len(rows):
            return
        measures = to_measures(boxes[rows])
        costs, allowed = self._costs(tracks, boxes[rows], measures, reach)
        # A refused pair costs what the worst allowed one does: dearer, and one newcomer would push
        # a row of faces each into its neighbour's track.
        costs = np.where(allowed, costs, 1 + reach)
        for number, column in zip(*linear_sum_assignment(costs), strict=True):
            if allowed[number, column]:
                track = tracks[number]
                track.motion.correct(measures[column])
                track.row, track.seen_s = int(rows[column]), self._now_s

    def _costs(
        self, tracks: list[_Track], boxes: Float32, measures: Float64, reach: float
    ) -> tuple[Float64, NDArray[np.bool_]]:
        """1 - IoU with the predicted box + distance of the centres in box sides, and whether the
        pair may be one face; each (tracks, boxes).

        A fast face at 5 fps does not overlap its prediction, so a box within reach will do.
        """
        predicted = np.stack([track.motion.place for track in tracks])
        spreads = np.array([track.motion.spread() for track in tracks])
        overlap = iou(to_boxes(predicted), boxes)
        here, there = sides(predicted)[:, None], sides(measures)[None, :]
        offset = predicted[:, None, :2] - measures[None, :, :2]
        distance = np.linalg.norm(offset, axis=2) / np.sqrt(here * there)
        within = np.minimum(GATE * spreads, reach)[:, None]
        allowed = (overlap >= self._settings.min_iou) | (distance <= within)
        allowed &= np.abs(np.log(here / there)) <= np.log(SIZE_RATIO)
        return 1 - overlap + distance, allowed

    def _give_birth(self) -> None:
        """An id for every face that has been seen for long enough."""
        for track in self._tracks:
            age_s = track.seen_s - track.first_s
            if not track.id and age_s >= self._settings.confirm_s - SLACK_S:
                self._births += 1
                track.id = self._births
