"""Multi-object tracking: the boxes of successive frames become tracks, in media seconds.

A track begins as a candidate at a confident box. It is confirmed, gets an id and enters the output
once it has been seen for `confirm_s`. A weak box (score below `start_score`) continues a track but
never begins one, as in ByteTrack (Zhang et al. 2022, arXiv 2110.06864). A track ends when its face
has not been found for `lost_s`. Only analysed frames prove absence: a face of the frame before may
be matched again after any gap, so that a clip sampled once a second has tracks too. In an image, or
a clip too short to confirm anything, `confirm_s` is 0 (see `pipeline.live.stage_runner`).
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
"""The gate: a box more standard deviations than this from the predicted place is of another
face."""
SIZE_RATIO = 2.0
"""So is a box more times larger or smaller than this."""
WEAK_REACH = 0.5
"""The weak-box rule: a weak box is less evidence, so it must lie within this share of
`max_distance`. Measured: without the rule, false weak boxes beside the faces broke a quarter more
tracks; at 0.25, fast faces at 5 fps lost theirs."""
SLACK_S = 1e-4
"""Media times are rounded: the fourth frame at 20 fps comes 0.15 s after the first, more or
less."""
Rows = NDArray[np.intp]


@dataclass(eq=False)
class _Track:
    motion: BoxMotion
    first_s: float
    seen_s: float
    row: int | None  # its face in the last analysed frame
    id: int = 0  # 1 or more once confirmed


@dataclass(frozen=True)
class ExpectedFaces:
    """Boxes (n, 4) xyxy that faces are expected to have in a frame, pixels, and whether each was
    found in the frame before (n,)."""

    boxes: Float32
    was_found: NDArray[np.bool_]


class Tracker:
    """The tracks of one camera run. Ids count from 1 in order of confirmation and are never reused.

    The same frames give the same ids, in whatever order the faces of a frame come.
    """

    def __init__(self, settings: TrackerSettings) -> None:
        self._settings = settings
        self._tracks: list[_Track] = []
        self._last_id = 0
        self._now_s = -np.inf
        self._size: tuple[int, int] | None = None

    def predict(self, header: FrameHeader) -> ExpectedFaces:
        """Where the faces of the tracks, unconfirmed ones too, are expected in the next frame,
        whose `update` follows. Raises ValueError as `update` does."""
        self._follow_size(header.width, header.height)
        self._predict(header.pts_s)
        places = [track.motion.place for track in self._tracks]
        return ExpectedFaces(
            to_boxes(np.array(places, np.float64).reshape(-1, 4)),
            np.array([track.row is not None for track in self._tracks], np.bool_),
        )

    def update(self, header: FrameHeader, faces: Faces) -> TrackedFaces:
        """The frame's faces that have a confirmed track, in order of id and with the detector's
        boxes; and the ids of the tracks that ended.

        Raises ValueError for a frame older than the last one.
        """
        faces = faces[np.lexsort(faces.boxes.T)]
        self._follow_size(header.width, header.height)
        self._predict(header.pts_s)
        ended = self._end_lost()
        self._associate(faces)
        ended += self._end_lost()
        self._confirm()
        confirmed = sorted((t.id, t.row) for t in self._tracks if t.id and t.row is not None)
        return TrackedFaces(
            header,
            faces[np.array([row for _, row in confirmed], np.intp)],
            np.array([id for id, _ in confirmed], np.int64),
            ended,
        )

    def finish(self) -> tuple[int, ...]:
        """The run is over: the ids that were still open."""
        open_ids = tuple(track.id for track in self._tracks if track.id)
        self._tracks = []
        return open_ids

    def _follow_size(self, width: int, height: int) -> None:
        """Tracks keep their places in the image when a stream changes its resolution."""
        if self._size is not None and self._size != (width, height):
            for track in self._tracks:
                track.motion.rescale(width / self._size[0], height / self._size[1])
        self._size = width, height

    def _predict(self, now_s: float) -> None:
        if now_s < self._now_s:
            raise ValueError(f"pts_s: expected {self._now_s} or later, got {now_s}")
        for track in self._tracks:
            track.motion.predict(now_s - self._now_s)
        self._now_s = now_s

    def _end_lost(self) -> tuple[int, ...]:
        """End the tracks that the last analysed frame did not find and that are overdue."""
        gone = [t for t in self._tracks if t.row is None and self._is_overdue(t)]
        self._tracks = [track for track in self._tracks if track not in gone]
        return tuple(track.id for track in gone if track.id)

    def _is_overdue(self, track: _Track) -> bool:
        limit_s = self._settings.lost_s if track.id else self._settings.confirm_s
        return self._now_s - track.seen_s > limit_s + SLACK_S

    def _associate(self, faces: Faces) -> None:
        """Match faces to tracks, the confident ones first; confident ones left over begin a
        track."""
        confident = faces.scores >= self._settings.start_score
        for track in self._tracks:
            track.row = None
        strong, weak = np.flatnonzero(confident), np.flatnonzero(~confident)
        self._match(self._tracks, faces.boxes, strong, self._settings.max_distance)
        unmatched = [track for track in self._tracks if track.row is None]
        self._match(unmatched, faces.boxes, weak, WEAK_REACH * self._settings.max_distance)
        taken = {track.row for track in self._tracks}
        for row in strong.tolist():
            if row not in taken:
                motion = BoxMotion(to_measures(faces.boxes[[row]])[0])
                self._tracks.append(_Track(motion, self._now_s, self._now_s, row))

    def _match(self, tracks: list[_Track], boxes: Float32, rows: Rows, reach: float) -> None:
        """Assign at most one of the boxes in `rows` to each track, at the least total cost
        (Hungarian method)."""
        if not tracks or not len(rows):
            return
        measures = to_measures(boxes[rows])
        costs, allowed = self._costs(tracks, boxes[rows], measures, reach)
        # A pair outside the gate costs what the worst allowed pair does. If it cost more, one new
        # face could shift a whole row of faces, each into its neighbour's track.
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

        A fast face at 5 fps does not overlap its prediction, so a box within the gate is enough,
        but never one further than `reach` box sides.
        """
        predicted = np.stack([track.motion.place for track in tracks])
        spreads = np.array([track.motion.spread() for track in tracks])
        overlap = iou(to_boxes(predicted), boxes)
        track_sides, box_sides = sides(predicted)[:, None], sides(measures)[None, :]
        offset = predicted[:, None, :2] - measures[None, :, :2]
        distance = np.linalg.norm(offset, axis=2) / np.sqrt(track_sides * box_sides)
        within = np.minimum(GATE * spreads, reach)[:, None]
        allowed = (overlap >= self._settings.min_iou) | (distance <= within)
        allowed &= np.abs(np.log(track_sides / box_sides)) <= np.log(SIZE_RATIO)
        return 1 - overlap + distance, allowed

    def _confirm(self) -> None:
        """Give an id to every candidate that has been seen for long enough."""
        for track in self._tracks:
            age_s = track.seen_s - track.first_s
            if not track.id and age_s >= self._settings.confirm_s - SLACK_S:
                self._last_id += 1
                track.id = self._last_id
