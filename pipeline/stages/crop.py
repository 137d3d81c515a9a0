"""From tracked faces to crops; noisy crops of one track are fused by multi-frame averaging."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.crops import GEOMETRY, crop_frame
from models.fusion import IDENTITY, Float32, compose_warps, find_alignment, is_still, warp_crop
from models.light import to_linear_light, to_srgb
from models.quality import measure
from pipeline.frames import CroppedFaces, Frame, TrackedFaces
from pipeline.settings import CropSettings

DECAY = 1 / 6
"""Share of `fuse_s` after which the weight of a crop decays to 1/e: the present expression comes
first."""


@dataclass
class _PastCrop:
    """One crop in linear light as it was cut, and its alignment to the newest crop of its track."""

    pts_s: float
    light: Float32
    warp: Float32 = field(default_factory=IDENTITY.copy)

    def __post_init__(self) -> None:
        self.aligned = self.light

    def align(self, warp: Float32) -> None:
        """Align to a newer crop, given the warp from the one before it to the newer one."""
        self.warp = compose_warps(self.warp, warp)
        self.aligned = warp_crop(self.light, self.warp)


class Crop:
    """Cuts faces out of the frames of one camera, in the geometry that the weights take; it keeps
    the past crops of its tracks.

    Where a crop's noise is above `settings.fuse_noise`, the crop becomes the weighted mean of its
    track's crops in the last `fuse_s` seconds, the newest weighing most, as long as the face does
    not move in itself: a crop that differs from that mean by more than noise starts a new one.
    """

    def __init__(self, settings: CropSettings, geometry: str = GEOMETRY) -> None:
        self._settings, self._geometry = settings, geometry
        self._tracks: dict[int, deque[_PastCrop]] = {}

    def __call__(self, frame: Frame, tracked: TrackedFaces) -> CroppedFaces:
        """The crops of a frame's tracked faces, in their order; there may be none."""
        crops = crop_frame(frame.pixels, tracked.faces, self._geometry)
        quality = measure(crops, tracked.faces.boxes)
        fused = np.ones(len(crops), np.int64)
        for row, track_id in enumerate(tracked.track_ids.tolist()):
            if self._settings.fuse_s and quality.noise[row] > self._settings.fuse_noise:
                kept = self._crops_to_fuse(track_id, frame.header.pts_s, crops[row])
                crops[row] = to_srgb(self._mean(kept, frame.header.pts_s))
                fused[row] = len(kept)
            else:
                self._tracks.pop(track_id, None)
        for track_id in tracked.ended:
            self._tracks.pop(track_id, None)
        return CroppedFaces(tracked, crops, quality, fused)

    def _crops_to_fuse(
        self, track_id: int, pts_s: float, crop: NDArray[np.uint8]
    ) -> deque[_PastCrop]:
        """The crops to average with the newest one, itself among them."""
        light = to_linear_light(crop)
        kept = self._tracks.setdefault(track_id, deque(maxlen=self._settings.fuse_max))
        while kept and pts_s - kept[0].pts_s > self._settings.fuse_s:
            kept.popleft()
        if kept and not self._align(kept, light, pts_s):
            kept.clear()
        kept.append(_PastCrop(pts_s, light))
        return kept

    def _align(self, kept: deque[_PastCrop], light: Float32, pts_s: float) -> bool:
        """Align the past crops to the newest; False where that fails or the expression changed."""
        warp = find_alignment(self._mean(kept, pts_s), light)
        if warp is None:
            return False
        for past in kept:
            past.align(warp)
        return is_still(light, self._mean(kept, pts_s))

    def _mean(self, kept: deque[_PastCrop], pts_s: float) -> Float32:
        """The mean of the aligned crops, weighted by age."""
        ages = np.array([pts_s - past.pts_s for past in kept])
        weights = np.exp(-ages / (DECAY * self._settings.fuse_s))
        mean = np.average([past.aligned for past in kept], axis=0, weights=weights)
        return mean.astype(np.float32)
