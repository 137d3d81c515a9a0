"""The surroundings of known faces, cut out of an image and packed into one small one: a mosaic.

A face seen a moment ago is near its place, so a detector need not search the rest of the image.
Each face has a square cell in which it is never large, so a near one costs no more than
a distant one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.detectors.base import Image
from models.faces import Faces, Float32, non_maximum_suppression

CELL_PX = 128
"""Side of a cell: a multiple of what detectors pad their input to."""
LARGE_PX = 80
"""A face whose longer side is above this is shrunk, until it has LARGE_SHARE of its cell; larger
cells give it no better box (docs/LOG.md)."""
LARGE_SHARE = 0.5
STEP_PX = 16
"""Cells begin at multiples of this in the image: a network's grid then lies on a face nearly as it
does in the whole image, and gives nearly the same box."""
EDGE_SHARE = 0.015
"""A box that ends this near to the edge of its cell, as a share of the cell, is of a face that the
edge cuts; where the edge is that of the image, it is not."""
OVERLAP = 0.3
"""IoU above which boxes of two cells are one face."""


@dataclass(frozen=True)
class Square:
    """A square of an image in whole pixels; it may reach beyond the image's edge."""

    left: int
    top: int
    side: int

    @property
    def ends(self) -> tuple[int, int]:
        """The first column and the first row that are no longer in it."""
        return self.left + self.side, self.top + self.side


def surrounding_squares(boxes: Float32) -> list[Square]:
    """The surroundings of each box (n, 4) xyxy, pixels: a cell's worth of pixels as they are; of a
    large face, so many that it has LARGE_SHARE of its cell."""
    squares = []
    for box in boxes:
        side = float((box[2:] - box[:2]).max())
        px, step = (CELL_PX, STEP_PX) if side <= LARGE_PX else (math.ceil(side / LARGE_SHARE), 1)
        left, top = (
            step * round((float(edge) - px / 2) / step) for edge in (box[:2] + box[2:]) / 2
        )
        squares.append(Square(left, top, px))
    return squares


class Mosaic:
    """The cells of some squares of an image, `width` by `height` pixels, in rows of equal length;
    what no square shows is black, as a detector pads its input."""

    def __init__(self, squares: list[Square], width: int, height: int) -> None:
        self._squares, self._size = squares, (width, height)
        rows = max(int(len(squares) ** 0.5), 1)
        self._columns = -(-len(squares) // rows)
        self.shape = (rows * CELL_PX, self._columns * CELL_PX)

    def build(self, image: Image) -> Image:
        """The mosaic (h, w, 3) uint8 RGB of the image."""
        canvas = np.zeros((*self.shape, 3), np.uint8)
        for number, square in enumerate(self._squares):
            left, top = max(square.left, 0), max(square.top, 0)
            right, bottom = np.minimum(square.ends, self._size).tolist()
            if left >= right or top >= bottom:
                continue
            scale = CELL_PX / square.side
            # Edges to whole pixels of the cell: what the image's edge cuts off keeps its place.
            x0, y0 = round((left - square.left) * scale), round((top - square.top) * scale)
            x1, y1 = round((right - square.left) * scale), round((bottom - square.top) * scale)
            if x0 < x1 and y0 < y1:
                part = image[top:bottom, left:right]
                if part.shape[:2] != (y1 - y0, x1 - x0):
                    part = cv2.resize(part, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
                row, column = self._origin(number)
                canvas[row + y0 : row + y1, column + x0 : column + x1] = part
        return canvas

    def to_image(self, found: Faces) -> tuple[Faces, Faces]:
        """Faces found in the mosaic, in pixels of the image, best score first: those within a cell,
        and those across the edge of one, of parts of a face."""
        parts = [
            self._from_cell(number, square, found) for number, square in enumerate(self._squares)
        ]
        if not parts:
            return Faces.none(), Faces.none()
        whole, cut = (join_faces(list(each)) for each in zip(*parts, strict=True))
        return non_maximum_suppression(whole, OVERLAP), cut

    def _from_cell(self, number: int, square: Square, found: Faces) -> tuple[Faces, Faces]:
        row, column = self._origin(number)
        centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2 - (column, row)
        is_here = np.asarray(((centres >= 0) & (centres < CELL_PX)).all(axis=1), bool)
        scale = square.side / CELL_PX
        offset = column - square.left / scale, row - square.top / scale
        faces = found[is_here].transform(scale, *offset)
        low, high = self._open_edges(square)
        margin = EDGE_SHARE * square.side
        is_whole = (faces.boxes[:, :2] >= low + margin) & (faces.boxes[:, 2:] <= high - margin)
        rows = np.asarray(is_whole.all(axis=1), bool)
        return faces[rows], faces[~rows]

    def _open_edges(self, square: Square) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Left and top, right and bottom edge of a square; infinite where the image ends before."""
        low, high = np.array([square.left, square.top], float), np.array(square.ends, float)
        return np.where(low <= 0, -np.inf, low), np.where(high >= self._size, np.inf, high)

    def _origin(self, number: int) -> tuple[int, int]:
        """First row and column of a cell."""
        return number // self._columns * CELL_PX, number % self._columns * CELL_PX


def join_faces(parts: list[Faces]) -> Faces:
    """All faces of several sets, one behind the other."""
    return Faces(
        np.concatenate([faces.boxes for faces in parts]),
        np.concatenate([faces.scores for faces in parts]),
        np.concatenate([faces.landmarks for faces in parts]),
    )
