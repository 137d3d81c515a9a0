"""What FFmpeg decodes, as the pictures that every stage sees: RGB, upright."""

from __future__ import annotations

from typing import cast

import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray


class ToRgb:
    """Converts decoded pictures of any format and size to (h, w, 3) uint8 RGB, turned and mirrored
    as they ask."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, picture: VideoFrame) -> NDArray[np.uint8]:
        """One picture; the array is the caller's own."""
        rgb = self._reformatter.reformat(picture, format="rgb24", threads=1)
        return _upright(rgb.to_ndarray().astype(np.uint8, copy=False), picture)


def _upright(image: NDArray[np.uint8], picture: VideoFrame) -> NDArray[np.uint8]:
    """Turned by quarters and mirrored as the display matrix asks: column vectors (a b), (c d)."""
    # av's stub calls this a dict of motion vectors.
    side_data = cast(SideDataContainer, picture.side_data)
    if "DISPLAYMATRIX" not in side_data:
        return image
    a, b, _, c, d = np.frombuffer(bytes(side_data["DISPLAYMATRIX"]), np.int32, count=5)
    if abs(b) > abs(a):
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
