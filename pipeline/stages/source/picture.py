"""What FFmpeg decodes, as the pictures that every stage sees: RGB, upright."""

from __future__ import annotations

from typing import cast

import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

Matrix = NDArray[np.int32]


class ToRgb:
    """Converts decoded pictures of any format and size to (h, w, 3) uint8 RGB, turned and mirrored
    as they ask; one object for one stream."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._rotation: int | None = None
        self._matrix: Matrix | None = None

    def __call__(self, picture: VideoFrame) -> NDArray[np.uint8]:
        """One picture; the array is the caller's own."""
        # Whoever asks a picture for its side data makes a ring of the two, and its megabytes wait
        # for the garbage collector: so that is done once, and again when the rotation changes.
        if picture.rotation != self._rotation:
            self._rotation, self._matrix = picture.rotation, _display_matrix(picture)
        rgb = self._reformatter.reformat(picture, format="rgb24", threads=1)
        return _upright(rgb.to_ndarray().astype(np.uint8, copy=False), self._matrix)


def _display_matrix(picture: VideoFrame) -> Matrix | None:
    # av's stub calls this a dict of motion vectors.
    side_data = cast(SideDataContainer, picture.side_data)
    if "DISPLAYMATRIX" not in side_data:
        return None
    return np.frombuffer(bytes(side_data["DISPLAYMATRIX"]), np.int32, count=5)


def _upright(image: NDArray[np.uint8], matrix: Matrix | None) -> NDArray[np.uint8]:
    """Turned by quarters and mirrored as the display matrix asks: column vectors (a b), (c d)."""
    if matrix is None:
        return image
    a, b, _, c, d = matrix
    if abs(b) > abs(a):
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
