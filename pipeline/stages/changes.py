"""Where the image of a camera changes: what has not changed need not be searched again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.faces import Float32
from pipeline.frames import Frame

PERSON = (1.5, 1.0, 1.5, 7.0)
"""How far a person reaches beyond the box of the face, in its width and height: to the left, above,
to the right and below."""


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
        self._searched = self._now = self._before = np.zeros((0, 0), np.int16)
        self._scale = 1.0

    def take(self, frame: Frame) -> None:
        """The next frame."""
        if not self._least:
            return
        image = frame.pixels
        self._scale = min(self.LONGER_PX / max(image.width, image.height), 1.0)
        width, height = (max(round(side * self._scale), 1) for side in (image.width, image.height))
        self._before, self._now = self._now, image.thumbnail(width, height).astype(np.int16)
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

    def has_moved_beside(self, faces: Float32) -> bool:
        """Whether anything has moved since the frame before that belongs to no person with one of
        these faces (n, 4); False where that is not known."""
        if not self._least or self._before.shape != self._now.shape:
            return False
        changed = np.abs(self._now - self._before) >= self._least
        if int(changed.sum()) < self.MOVED_PX:
            return False
        for box in faces:
            width, height = (box[2:] - box[:2]).tolist()
            reach = np.array(PERSON) * (width, height, width, height)
            changed[self._slices(box[:2] - reach[:2], box[2:] + reach[2:])] = False
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
        return self._slices(box[:2] - reach, box[2:] + reach)

    def _slices(self, low: Float32, high: Float32) -> tuple[slice, slice]:
        """Rows and columns of the small image between two corners (x, y), pixels."""
        x0, y0 = np.floor(low * self._scale).astype(int).clip(0).tolist()
        x1, y1 = np.ceil(high * self._scale).astype(int).clip(0).tolist()
        return slice(y0, y1), slice(x0, x1)
