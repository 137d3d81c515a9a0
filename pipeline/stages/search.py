"""Which part of a frame is searched for faces: all of it, the surroundings of known faces, none.

Searching a whole frame costs more than all other stages together, and most frames of a live camera
show the faces of the frame before near their places, or nothing at all. So the whole frame is
searched every `full_search_s`, which bounds the time until a new face is found. In between, known
faces are looked for in their surroundings, packed into one small image, and only where these have
changed. A frame is searched whole at once where a known face is not found there, where part of
another one is, and for a second after something begins to move that belongs to no known face: most
new faces come that way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.detectors.conditioner import Conditioning
from models.detectors.mosaic import join_faces
from models.faces import Faces, Float32, iou
from pipeline.frames import Frame
from pipeline.settings import DetectorSettings
from pipeline.stages.changes import ChangeMap
from pipeline.stages.detect import Detect
from pipeline.stages.track import ExpectedFaces

WHOLE, PART, NONE = "whole", "part", "none"
"""How much of a frame was searched."""
SEARCHES = (WHOLE, PART, NONE)
LIVE_S = 0.8
"""`full_search_s` of live cameras: with the next frame, which confirms a face, it is observed
within a second at five analysed frames a second."""
AGAIN_S = 10.0
"""Seconds between two searches at another scale where nothing moves and none was found."""
ALERT_S = 1.0
"""How long frames are searched whole after something begins to move, and how long nothing must move
before that may happen again: a street is not searched whole all day."""
SLACK_S = 1e-3
SAME_FACE = 0.2
"""IoU from which on a face is the known one; so is one whose centre is within its box."""
OVERLAP = 0.3
SURE = 0.4
"""Score from which on half of an unknown face beside a known one has the whole frame searched."""


class FaceSearch:
    """Finds the faces of one camera's frames, in order; `how` says how much of the last one was
    searched.

    With `full_search_s` 0, as in files, every frame is searched whole.
    """

    def __init__(self, detect: Detect, settings: DetectorSettings, is_live: bool) -> None:
        period_s = settings.full_search_s
        self._period_s = (LIVE_S if is_live else 0.0) if period_s is None else period_s
        self._detect = detect
        self._changes = ChangeMap(settings.change_levels)
        self.how = WHOLE
        self._faces = Faces.none()
        self._size = (0, 0)
        self._whole_s = -np.inf
        self._conditioning: Conditioning | None = None
        # Of the last search at another scale that found nothing either.
        self._vain_s = -np.inf
        self._vain: NDArray[np.int16] | None = None
        # When something began to move, and moved last, that belongs to no known face.
        self._moves_s = self._moved_s = -np.inf

    def __call__(self, frame: Frame, known: ExpectedFaces) -> Faces:
        """Faces of a frame, in its pixels; `known`: where faces are expected."""
        if not self._period_s:
            return self._detect(frame.image)
        pixels, pts_s = frame.pixels, frame.header.pts_s
        self._changes.take(frame)
        is_new_size = self._size != (pixels.width, pixels.height)
        self._size = pixels.width, pixels.height
        is_due = pts_s >= self._whole_s + self._period_s - SLACK_S
        if self._is_alerted(pts_s, known.boxes) or is_due or is_new_size:
            self._faces = self._search_whole(frame)
            if not _are_covered(self._faces.boxes, known.boxes).all():
                self._moved_s = -np.inf  # a new face: what moves next may be another one
        else:
            self._faces = self._search_known(frame, known)
        return self._faces

    def _is_alerted(self, pts_s: float, known: Float32) -> bool:
        """Whether something moves in this frame, and has for no more than ALERT_S, that belongs to
        none of the faces that are known, or were found in the frame before."""
        if not self._changes.has_moved_beside(np.concatenate([known, self._faces.boxes])):
            return False
        if pts_s > self._moved_s + ALERT_S:
            self._moves_s = pts_s
        self._moved_s = pts_s
        return pts_s <= self._moves_s + ALERT_S

    def _search_known(self, frame: Frame, known: ExpectedFaces) -> Faces:
        """Known faces keep their boxes where nothing has changed; the others are looked for. One
        that was not found in the frame before either is hidden, and no reason to search it all."""
        kept = self._faces[~self._have_changed(self._faces.boxes)]
        is_wanted = ~_are_covered(known.boxes, kept.boxes) & self._have_changed(known.boxes)
        if not is_wanted.any():
            self.how = NONE
            return kept
        wanted, visible = known.boxes[is_wanted], known.boxes[is_wanted & known.was_found]
        found = self._detect.search_around(frame.pixels, wanted, self._conditioning)
        if found is None:
            return self._search_whole(frame)
        self.how = PART
        self._changes.mark_around(wanted)
        faces, beyond = _join(kept, found[0]), found[1]
        is_new = ~_are_covered(beyond.boxes, np.concatenate([known.boxes, faces.boxes]))
        if is_new[beyond.scores >= SURE].any() or not _are_covered(visible, faces.boxes).all():
            return self._search_whole(frame)
        return faces

    def _have_changed(self, boxes: Float32) -> NDArray[np.bool_]:
        return np.array([self._changes.has_changed(box) for box in boxes], np.bool_)

    def _search_whole(self, frame: Frame) -> Faces:
        self.how = WHOLE
        self._whole_s = pts_s = frame.header.pts_s
        is_due = pts_s >= self._vain_s + AGAIN_S
        again = pts_s >= self._vain_s + self._period_s - SLACK_S and (
            is_due or self._changes.has_moved(self._vain)
        )
        faces, self._conditioning = self._detect.search_whole(frame.pixels, again)
        if again and not len(faces):
            self._vain_s, self._vain = pts_s, self._changes.snapshot()
        self._changes.mark_whole()
        return faces


def _are_covered(places: Float32, boxes: Float32) -> NDArray[np.bool_]:
    """Which of the places (n, 4) have one of these boxes (m, 4) at them."""
    if not len(boxes) or not len(places):
        return np.zeros(len(places), bool)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    is_within = (centres >= places[:, None, :2]) & (centres <= places[:, None, 2:])
    covered = (iou(places, boxes) >= SAME_FACE) | np.all(is_within, axis=2)
    return np.asarray(covered.any(axis=1), np.bool_)


def _join(kept: Faces, found: Faces) -> Faces:
    """Both, without those found that are kept already."""
    is_new = (iou(found.boxes, kept.boxes) <= OVERLAP).all(axis=1)
    return join_faces([kept, found[np.asarray(is_new, np.bool_)]])
