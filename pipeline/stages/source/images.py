"""From decoded frames to images: upright and RGB, the whole or the parts that are needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import cv2
import numpy as np
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from pipeline.stages.source.decoding import FrameFilter

Matrix = NDArray[np.int32]
Pixels = NDArray[np.uint8]
# av's type stub has no constructor.
_side_data = cast(Callable[[VideoFrame], SideDataContainer], SideDataContainer)
KINDS = 64
"""More than the kinds of side data in FFmpeg, numbered from 0: 32 today, with now and then a new
one."""
PLANAR = {"yuv420p", "yuvj420p"}
"""Formats of which a part can be cut before it is converted."""


class ToRgb:
    """Converts decoded frames of any format and size to (h, w, 3) uint8 RGB, rotated and
    mirrored as each frame's display matrix asks; one object for one stream."""

    def __init__(self) -> None:
        self._whole, self._part = VideoReformatter(), VideoReformatter()
        self._scaled: dict[tuple[int, int], VideoReformatter] = {}
        known: set[object] = {kind.value for kind in Type}
        unknown = (kind for kind in range(KINDS) if kind not in known)
        self._without_unknown = FrameFilter(
            *(("sidedata", f"mode=delete:type={kind}") for kind in unknown)
        )

    def __call__(self, frame: VideoFrame) -> Pixels:
        """One frame; the array is the caller's own."""
        return self.convert(frame, self.display_matrix(frame))

    def convert(self, frame: VideoFrame, matrix: Matrix | None) -> Pixels:
        """One frame, given its display matrix."""
        rgb = self._whole.reformat(frame, format="rgb24", threads=1)
        return _upright(rgb.to_ndarray().astype(np.uint8, copy=False), matrix)

    def scale(self, frame: VideoFrame, width: int, height: int) -> Pixels:
        """One frame at a smaller size, not turned, each pixel the mean over its area."""
        # One for each size: a reformatter begins anew at another one.
        reformatter = self._scaled.setdefault((width, height), VideoReformatter())
        rgb = reformatter.reformat(
            frame, width, height, "rgb24", interpolation=Interpolation.AREA, threads=1
        )
        return rgb.to_ndarray().astype(np.uint8, copy=False)

    def cut(self, frame: VideoFrame, left: int, top: int, right: int, bottom: int) -> Pixels:
        """A part of a frame of a PLANAR format and even sides, not turned."""
        x0, y0, x1, y1 = left & -2, top & -2, right + right % 2, bottom + bottom % 2
        luma, *chroma = (_plane(frame, number) for number in range(3))
        planes = [luma[y0:y1, x0:x1]]
        planes += [plane[y0 // 2 : y1 // 2, x0 // 2 : x1 // 2] for plane in chroma]
        packed = np.concatenate([plane.ravel() for plane in planes])
        part = VideoFrame.from_ndarray(packed.reshape(-1, x1 - x0), frame.format.name)
        part.colorspace, part.color_range = frame.colorspace, frame.color_range
        rgb = self._part.reformat(part, format="rgb24", threads=1).to_ndarray()
        return rgb[top - y0 : bottom - y0, left - x0 : right - x0].astype(np.uint8, copy=False)

    def display_matrix(self, frame: VideoFrame) -> Matrix | None:
        """The first five of the numbers that say how a frame is to be shown; None: as it is."""
        # Not `frame.side_data`: that makes a reference cycle, and the frame's megabytes would wait
        # for the garbage collector.
        try:
            side_data = _side_data(frame)
        except ValueError:
            # av reads all side data or none, and has no name for some kinds, such as EXIF.
            side_data = _side_data(self._without_unknown(frame))
        if Type.DISPLAYMATRIX not in side_data:
            return None
        return np.frombuffer(bytes(side_data[Type.DISPLAYMATRIX]), np.int32, count=5)


class DecodedImage:
    """The `FrameImage` of a decoded frame: it stays as the decoder made it until RGB is needed."""

    def __init__(self, frame: VideoFrame, to_rgb: ToRgb) -> None:
        self._frame, self._to_rgb = frame, to_rgb
        self._matrix = to_rgb.display_matrix(frame)
        self.width, self.height = frame.width, frame.height
        if self._matrix is not None and _is_turned(self._matrix):
            self.width, self.height = self.height, self.width
        is_even = frame.width % 2 == frame.height % 2 == 0
        self._is_plain = self._matrix is None and frame.format.name in PLANAR and is_even
        self._rgb: Pixels | None = None

    def rgb(self) -> Pixels:
        """See FrameImage."""
        if self._rgb is None:
            self._rgb = self._to_rgb.convert(self._frame, self._matrix)
            self._rgb.setflags(write=False)
        return self._rgb

    def cut(self, left: int, top: int, right: int, bottom: int) -> Pixels:
        """See FrameImage."""
        if self._is_plain and self._rgb is None:
            return self._to_rgb.cut(self._frame, left, top, right, bottom)
        return self.rgb()[top:bottom, left:right]

    def scale(self, width: int, height: int) -> Pixels:
        """See FrameImage."""
        if self._is_plain and width < self.width:
            return self._to_rgb.scale(self._frame, width, height)
        how = cv2.INTER_AREA if width < self.width else cv2.INTER_LINEAR
        return cv2.resize(self.rgb(), (width, height), interpolation=how).astype(
            np.uint8, copy=False
        )

    def thumbnail(self, width: int, height: int) -> Pixels:
        """See FrameImage; of a frame with a plane of luma, that."""
        if self._is_plain:
            whole = _plane(self._frame, 0)
        else:
            whole = cv2.cvtColor(self.rgb(), cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
        return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA).astype(
            np.uint8, copy=False
        )


def _plane(frame: VideoFrame, number: int) -> Pixels:
    """A plane of 8 bits, (h, w), without the padding of its lines; a view."""
    plane = frame.planes[number]
    return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:, : plane.width]


def _is_turned(matrix: Matrix) -> bool:
    """Whether a display matrix turns by 90 or 270 degrees: columns (a b), (c d)."""
    a, b, *_ = matrix
    return bool(abs(b) > abs(a))


def _upright(image: Pixels, matrix: Matrix | None) -> Pixels:
    """Rotated by quarter turns and mirrored as the display matrix asks."""
    if matrix is None:
        return image
    a, b, _, c, d = matrix
    if _is_turned(matrix):
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
