"""From tracked faces to crops; of a noisy camera, looks at one face are gathered into one."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.crops import crop_faces
from models.fusion import IDENTITY, Float32, compose_warps, find_alignment, is_still, warp_crop
from models.light import to_linear_light, to_srgb
from models.quality import measure
from pipeline.frames import CroppedFaces, Frame, TrackedFaces
from pipeline.settings import CropSettings

FADE = 1 / 6
"""Of `fuse_s`, the time after which a look counts 1/e: what a face does now comes first."""


@dataclass
class _Look:
    """One crop in linear light as it was cut, and how it lies upon the newest of its track."""

    pts_s: float
    light: Float32
    warp: Float32 = field(default_factory=IDENTITY.copy)

    def __post_init__(self) -> None:
        self.laid = self.light

    def lay(self, warp: Float32) -> None:
        """Onto a newer look, from where the one before it was."""
        self.warp = compose_warps(self.warp, warp)
        self.laid = warp_crop(self.light, self.warp)


class Crop:
    """Cuts faces out of the frames of one camera; state of its tracks lives here.

    Where a crop's noise is above `settings.fuse_noise`, the crop becomes the mean of the looks at
    its face in the last `fuse_s` seconds, the newest counting most, as long as the face holds
    still: the first look that differs by more than noise begins anew.
    """

    def __init__(self, settings: CropSettings) -> None:
        self._settings = settings
        self._tracks: dict[int, deque[_Look]] = {}

    def __call__(self, frame: Frame, tracked: TrackedFaces) -> CroppedFaces:
        """The crops of a frame's tracked faces, in their order; there may be none."""
        crops = crop_faces(frame.image, tracked.faces)
        quality = measure(crops, tracked.faces.boxes)
        looks = np.ones(len(crops), np.int64)
        for row, number in enumerate(tracked.track_ids.tolist()):
            if self._settings.fuse_s and quality.noise[row] > self._settings.fuse_noise:
                kept = self._gathered(number, frame.header.pts_s, crops[row])
                crops[row] = to_srgb(self._mean(kept, frame.header.pts_s))
                looks[row] = len(kept)
            else:
                self._tracks.pop(number, None)
        for number in tracked.ended:
            self._tracks.pop(number, None)
        return CroppedFaces(tracked, crops, quality, looks)

    def _gathered(self, number: int, pts_s: float, crop: NDArray[np.uint8]) -> deque[_Look]:
        """The looks that the newest one is gathered with, itself among them."""
        light = to_linear_light(crop)
        kept = self._tracks.setdefault(number, deque(maxlen=self._settings.fuse_max))
        while kept and pts_s - kept[0].pts_s > self._settings.fuse_s:
            kept.popleft()
        if kept and not self._lay(kept, light, pts_s):
            kept.clear()
        kept.append(_Look(pts_s, light))
        return kept

    def _lay(self, kept: deque[_Look], light: Float32, pts_s: float) -> bool:
        """Lay earlier looks upon the newest; False where they do not fit or the face changed."""
        warp = find_alignment(self._mean(kept, pts_s), light)
        if warp is None:
            return False
        for look in kept:
            look.lay(warp)
        return is_still(light, self._mean(kept, pts_s))

    def _mean(self, kept: deque[_Look], pts_s: float) -> Float32:
        """The older a look, the less it counts."""
        ages = np.array([pts_s - look.pts_s for look in kept])
        counts = np.exp(-ages / (FADE * self._settings.fuse_s))
        mean = np.average([look.laid for look in kept], axis=0, weights=counts)
        return mean.astype(np.float32)
