"""Face crops: a geometry is the same in training and in serving.

A crop is (112, 112, 3) uint8 RGB. FER+ tiles (48x48 grey) become crops by `crops_from_tiles`,
faces in a frame by `crop_faces`; both reach a network through `models.model_input` and in no other
way. Needs no torch: the processes that read cameras cut crops and never load a network.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from models.alignment import find_corrections, warp_square
from models.errors import ModelError
from models.faces import Faces
from models.frame_image import FrameImage

CROP_PX = 112
GEOMETRY = "square-1.0"
"""The crop that weights are trained for: a square on the middle of a face's box, its side the
longer side of the box (docs/decisions holds the measurement)."""
ALIGNED = "aligned-5-1.0"
"""The same square, turned, scaled and moved until eyes and mouth are at fixed places; as it is
where the five points of the face are weak (`models.alignment`)."""
GEOMETRIES = (GEOMETRY, ALIGNED)
SIDE = 1.0
Crops = NDArray[np.uint8]


def crop_faces(image: NDArray[np.uint8], faces: Faces, geometry: str = GEOMETRY) -> Crops:
    """Cut each face out of an (h, w, 3) uint8 RGB image: (n, 112, 112, 3) uint8.

    Beyond the image's edge its border is repeated. `geometry` is one of GEOMETRIES.
    """
    squares = [_square_of(*box) for box in faces.boxes]
    crops = np.empty((len(faces), CROP_PX, CROP_PX, 3), np.uint8)
    for crop, (left, top, side) in zip(crops, squares, strict=True):
        crop[:] = resize_to_crop(_square(image, left, top, side))
    if geometry == ALIGNED and len(faces):
        corners, sides = np.split(np.array(squares, np.float32), [2], axis=1)
        points = (faces.landmarks - corners[:, None]) / sides[:, None]
        corrections = find_corrections(points, faces.scores, sides[:, 0])
        for row in np.flatnonzero(np.isfinite(corrections[:, 0, 0])):
            # A large face is warped at a multiple of the crop's size and then averaged down.
            px = CROP_PX * math.ceil(squares[row][2] / CROP_PX)
            crops[row] = resize_to_crop(warp_square(image, *squares[row], corrections[row], px))
    return crops


def crop_frame(image: FrameImage, faces: Faces, geometry: str = GEOMETRY) -> Crops:
    """The same out of an image that converts itself where needed: of square crops, only the parts
    that they show."""
    if geometry != GEOMETRY:
        return crop_faces(image.rgb(), faces, geometry)
    crops = np.empty((len(faces), CROP_PX, CROP_PX, 3), np.uint8)
    for crop, box in zip(crops, faces.boxes, strict=True):
        left, top, side = _square_of(*box)
        x0, y0 = min(max(left, 0), image.width - 1), min(max(top, 0), image.height - 1)
        x1, y1 = (
            min(max(left + side, x0 + 1), image.width),
            min(max(top + side, y0 + 1), image.height),
        )
        crop[:] = resize_to_crop(_square(image.cut(x0, y0, x1, y1), left - x0, top - y0, side))
    return crops


def _square_of(x0: float, y0: float, x1: float, y1: float) -> tuple[int, int, int]:
    """Left, top and side of the square around a box, in whole pixels."""
    side = max(_nearest(SIDE * max(x1 - x0, y1 - y0)), 1)
    return _nearest((x0 + x1 - side) / 2), _nearest((y0 + y1 - side) / 2), side


def _nearest(value: float) -> int:
    """A half goes up: Python's round() would send it to the even side, and so move a face's crop
    by none or by two pixels when the face moves by one."""
    return math.floor(value + 0.5)


def _square(image: NDArray[np.uint8], left: int, top: int, side: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    if 0 <= top <= height - side and 0 <= left <= width - side:
        return image[top : top + side, left : left + side]
    rows = np.clip(np.arange(top, top + side), 0, height - 1)
    columns = np.clip(np.arange(left, left + side), 0, width - 1)
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1][
        np.ix_(rows - rows[0], columns - columns[0])
    ]


def crops_from_tiles(tiles: NDArray[np.uint8]) -> Crops:
    """Aligned face tiles (n, h, w) grey or (n, h, w, 3) RGB uint8, to crops (n, 112, 112, 3)."""
    crops = np.empty((len(tiles), CROP_PX, CROP_PX, 3), np.uint8)
    for crop, tile in zip(crops, tiles, strict=True):
        crop[:] = resize_to_crop(tile if tile.ndim == 3 else tile[:, :, None].repeat(3, axis=2))
    return crops


def resize_to_crop(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Resize an (h, w, 3) uint8 image to (112, 112, 3): area average down, cubic up."""
    how = cv2.INTER_AREA if max(image.shape[:2]) > CROP_PX else cv2.INTER_CUBIC
    return cv2.resize(image, (CROP_PX, CROP_PX), interpolation=how).astype(np.uint8)


def check_crops(crops: Crops) -> None:
    """Raise ModelError unless `crops` is (n, 112, 112, 3) uint8."""
    if crops.ndim != 4 or crops.shape[1:] != (CROP_PX, CROP_PX, 3) or crops.dtype != np.uint8:
        raise ModelError(
            f"crops of shape {crops.shape} {crops.dtype}",
            "to_model_input",
            f"give (n, {CROP_PX}, {CROP_PX}, 3) uint8 RGB",
        )
