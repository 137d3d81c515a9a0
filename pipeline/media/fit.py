"""Frames of one size out of a stream that changes its size, and the boxes in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from pipeline.frames import Frame
from pipeline.records import Event, FaceObserved


@dataclass(frozen=True)
class Fit:
    """Scales frames to `width` by `height` pixels, whole, with black bars where their shape is
    another."""

    width: int
    height: int

    def frame(self, frame: Frame) -> Frame:
        """The frame in this size; itself where it has it."""
        header = frame.header
        if (header.width, header.height) == (self.width, self.height):
            return frame
        left, top, width, height = self._place(header.width, header.height)
        image = np.zeros((self.height, self.width, 3), np.uint8)
        smaller = width < header.width
        image[top : top + height, left : left + width] = cv2.resize(
            frame.image,
            (width, height),
            interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR,
        )
        return Frame(replace(header, width=self.width, height=self.height), image)

    def events(self, events: Sequence[Event], frame: Frame) -> list[Event]:
        """The records of a frame, their boxes as shares of the fitted one."""
        left, top, width, height = self._place(frame.header.width, frame.header.height)
        origin = np.array([left, top] * 2) / ([self.width, self.height] * 2)
        scale = np.array([width, height] * 2) / ([self.width, self.height] * 2)
        return [
            event.model_copy(update={"box": tuple((origin + scale * event.box).tolist())})
            if isinstance(event, FaceObserved)
            else event
            for event in events
        ]

    def _place(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, width and height of a scaled frame in the fitted one."""
        scale = min(self.width / width, self.height / height)
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        return (self.width - size[0]) // 2, (self.height - size[1]) // 2, *size
