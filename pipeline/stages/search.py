"""Which part of a frame is searched for faces: all of it, the surroundings of known faces, none.

Searching a whole frame costs more than all other stages together, and most frames of a live camera
show the faces of the frame before near their places, or nothing at all. So the whole frame is
searched every `full_search_s`, which bounds the time until a new face is found. In between, known
faces are looked for in their surroundings, packed into one small image, and only where these have
changed. A frame in which a known face is not found there is searched whole at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.detectors.conditioner import Conditioning
from models.detectors.mosaic import join_faces
from models.faces import Faces, Float32, iou
from pipeline.frames import Frame
from pipeline.settings import DetectorSettings
from pipeline.stages.detect import Detect

WHOLE, PART, NONE = "whole", "part", "none"
"""How much of a frame was searched."""
SEARCHES = (WHOLE, PART, NONE)
LIVE_S = 0.8
"""`full_search_s` of live cameras: with the next frame, which confirms a face, it is observed
within a second at five analysed frames a second."""
AGAIN_S = 10.0
"""Seconds between two searches at another scale where nothing moves and none was found."""
SLACK_S = 1e-3
SAME_FACE = 0.2
"""IoU from which on a face is the known one; so is one whose centre is within its box."""
OVERLAP = 0.3


class ChangeMap:
    """Where a camera's image has changed since it was searched: a small grey image of each frame is
    compared with what each place showed when it was searched last.

    `least`: levels, of 255, that a place must change by; 0: every place has always changed.
    """

    LONGER_PX = 160
    """Longer side of the small image. Its pixels average away the noise of a camera."""
    MOVED_PX = 40
    """Pixels of it that must change before something has moved: more than a clock in the image."""
    REACH = 0.5
    """How far around a box its surroundings reach, in box sides."""

    def __init__(self, least: float) -> None:
        self._least = least
        self._searched = self._now = np.zeros((0, 0), np.int16)
        self._scale = 1.0

    def take(self, frame: Frame) -> None:
        """The next frame."""
        if not self._least:
            return
        image = frame.pixels
        self._scale = min(self.LONGER_PX / max(image.width, image.height), 1.0)
        width, height = (max(round(side * self._scale), 1) for side in (image.width, image.height))
        self._now = image.thumbnail(width, height).astype(np.int16)
        if self._searched.shape != self._now.shape:
            self._searched = np.full_like(self._now, -1000)

    def snapshot(self) -> NDArray[np.int16]:
        """What the frame shows, for `has_moved`."""
        return self._now

    def has_moved(self, since: NDArray[np.int16] | None) -> bool:
        """Whether anything has moved in the image since an earlier frame."""
        if not self._least or since is None or since.shape != self._now.shape:
            return True
        changed = np.abs(self._now - since) >= self._least
        return int(changed.sum()) >= self.MOVED_PX

    def has_changed(self, box: Float32) -> bool:
        """Whether the surroundings of a box (4,) xyxy, pixels, have changed since their last
        search."""
        if not self._least:
            return True
        place = self._place(box)
        return bool((np.abs(self._now[place] - self._searched[place]) >= self._least).any())

    def mark_whole(self) -> None:
        """The whole frame is searched now."""
        self._searched = self._now.copy()

    def mark_around(self, boxes: Float32) -> None:
        """The surroundings of boxes (n, 4) are searched now."""
        if self._least:
            for box in boxes:
                place = self._place(box)
                self._searched[place] = self._now[place]

    def _place(self, box: Float32) -> tuple[slice, slice]:
        reach = self.REACH * float((box[2:] - box[:2]).max())
        x0, y0 = np.floor((box[:2] - reach) * self._scale).astype(int).clip(0).tolist()
        x1, y1 = np.ceil((box[2:] + reach) * self._scale).astype(int).clip(0).tolist()
        return slice(y0, y1), slice(x0, x1)


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

    def __call__(self, frame: Frame, known: Float32) -> Faces:
        """Faces of a frame, in its pixels; `known` (n, 4): where faces are expected."""
        if not self._period_s:
            return self._detect(frame.image)
        pixels, pts_s = frame.pixels, frame.header.pts_s
        self._changes.take(frame)
        is_new_size = self._size != (pixels.width, pixels.height)
        self._size = pixels.width, pixels.height
        if is_new_size or pts_s >= self._whole_s + self._period_s - SLACK_S:
            self._faces = self._search_whole(frame)
        else:
            self._faces = self._search_known(frame, known)
        return self._faces

    def _search_known(self, frame: Frame, known: Float32) -> Faces:
        """Known faces keep their boxes where nothing has changed; the others are looked for."""
        stays = np.array([not self._changes.has_changed(box) for box in self._faces.boxes], bool)
        kept = self._faces[stays]
        lost = known[~_are_covered(known, kept)]
        wanted = lost[np.array([self._changes.has_changed(box) for box in lost], bool)]
        if not len(wanted):
            self.how = NONE
            return kept
        found = self._detect.search_around(frame.pixels, wanted, self._conditioning)
        if found is None:
            return self._search_whole(frame)
        self.how = PART
        self._changes.mark_around(wanted)
        found = _join(kept, found)
        return found if _are_covered(wanted, found).all() else self._search_whole(frame)

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


def _are_covered(known: Float32, faces: Faces) -> NDArray[np.bool_]:
    """Which of the places (n, 4) where faces are expected have one."""
    if not len(faces) or not len(known):
        return np.zeros(len(known), bool)
    centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    is_within = (centres >= known[:, None, :2]) & (centres <= known[:, None, 2:])
    covered: NDArray[np.bool_] = (iou(known, faces.boxes) >= SAME_FACE).any(axis=1)
    return covered | is_within.all(axis=2).any(axis=1)


def _join(kept: Faces, found: Faces) -> Faces:
    """Both, without those found that are kept already."""
    is_new = (iou(found.boxes, kept.boxes) <= OVERLAP).all(axis=1)
    return join_faces([kept, found[is_new]])
