"""What FFmpeg decodes, as the pictures that every stage sees: RGB, upright."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from pipeline.stages.source.filters import FrameFilter

Matrix = NDArray[np.int32]
# av's stub knows no way to make one.
_side_data = cast(Callable[[VideoFrame], SideDataContainer], SideDataContainer)
KINDS = 64
"""FFmpeg numbers the kinds of side data from 0; it knows 32, and a new one now and then."""


class ToRgb:
    """Converts decoded pictures of any format and size to (h, w, 3) uint8 RGB, turned and mirrored
    as they ask, each by itself; one object for one stream."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        known: set[object] = {kind.value for kind in Type}
        unknown = (kind for kind in range(KINDS) if kind not in known)
        self._without_unknown = FrameFilter(
            *(("sidedata", f"mode=delete:type={kind}") for kind in unknown)
        )

    def __call__(self, picture: VideoFrame) -> NDArray[np.uint8]:
        """One picture; the array is the caller's own."""
        matrix = self._display_matrix(picture)
        rgb = self._reformatter.reformat(picture, format="rgb24", threads=1)
        return _upright(rgb.to_ndarray().astype(np.uint8, copy=False), matrix)

    def _display_matrix(self, picture: VideoFrame) -> Matrix | None:
        # Not `picture.side_data`: it would make a ring of the two, and the picture's megabytes
        # would wait for the garbage collector.
        try:
            side_data = _side_data(picture)
        except ValueError:
            # av reads all of it or nothing, and there are kinds that it has no name for, as EXIF.
            side_data = _side_data(self._without_unknown(picture))
        if Type.DISPLAYMATRIX not in side_data:
            return None
        return np.frombuffer(bytes(side_data[Type.DISPLAYMATRIX]), np.int32, count=5)


def _upright(image: NDArray[np.uint8], matrix: Matrix | None) -> NDArray[np.uint8]:
    """Turned by quarters and mirrored as the display matrix asks: column vectors (a b), (c d)."""
    if matrix is None:
        return image
    a, b, _, c, d = matrix
    if abs(b) > abs(a):
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
