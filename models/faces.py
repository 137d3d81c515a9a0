"""Faces found in one image. The only place that knows or converts box formats.

Everywhere else a box is (x0, y0, x1, y1) in pixels of the image, float32, x to the right, y down,
the right and lower edge not included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
LANDMARKS = ("right_eye", "left_eye", "nose", "right_mouth", "left_mouth")
"""The five points, named from the person's side: the right eye is the one further left in the
image."""


@dataclass(frozen=True)
class Faces:
    """Struct of arrays, one row a face.

    boxes (n, 4) float32 xyxy pixels; scores (n,) float32 in 0..1; landmarks (n, 5, 2) float32 xy
    pixels in the order of LANDMARKS. Raises ValueError, with both shapes, when they do not fit.
    """

    boxes: Float32
    scores: Float32
    landmarks: Float32

    def __post_init__(self) -> None:
        n = len(self.boxes)
        for name, value, shape in (
            ("boxes", self.boxes, (n, 4)),
            ("scores", self.scores, (n,)),
            ("landmarks", self.landmarks, (n, 5, 2)),
        ):
            if value.shape != shape or value.dtype != np.float32:
                raise ValueError(
                    f"{name}: expected {shape} float32, got {value.shape} {value.dtype}"
                )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Faces:
        return Faces(self.boxes[rows], self.scores[rows], self.landmarks[rows])

    @classmethod
    def none(cls) -> Faces:
        """No face at all.

        >>> len(Faces.none())
        0
        """
        return cls(
            np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32)
        )

    def transform(self, scale: float, offset_x: float = 0.0, offset_y: float = 0.0) -> Faces:
        """The same faces in another image's pixels: p -> (p - offset) * scale."""
        offset = np.array([offset_x, offset_y], np.float32)
        boxes = (self.boxes.reshape(-1, 2, 2) - offset) * np.float32(scale)
        landmarks = (self.landmarks - offset) * np.float32(scale)
        return Faces(boxes.reshape(-1, 4), self.scores, landmarks)


def iou(a: Float32, b: Float32) -> Float32:
    """Pairwise intersection over union.

    a: (n, 4), b: (m, 4), float32 xyxy pixels. Returns (n, m) float32 in [0, 1].

    >>> iou(np.float32([[0, 0, 2, 2]]), np.float32([[1, 0, 3, 2]]))
    array([[0.33333334]], dtype=float32)
    """
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    union = areas(a)[:, None] + areas(b)[None, :] - shared
    overlaps: Float32 = np.where(union > 0, shared / np.maximum(union, 1e-9), 0).astype(np.float32)
    return overlaps


def areas(boxes: Float32) -> Float32:
    """Areas of (n, 4) xyxy boxes, (n,) float32 in square pixels; a turned-over box has none."""
    sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    product: Float32 = (sides[:, 0] * sides[:, 1]).astype(np.float32)
    return product


def from_ltwh(boxes: Float32) -> Float32:
    """(n, 4) left, top, width, height -> (n, 4) xyxy.

    >>> from_ltwh(np.float32([[1, 2, 10, 20]]))
    array([[ 1.,  2., 11., 22.]], dtype=float32)
    """
    corners: Float32 = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    return corners


def to_unit(boxes: Float32, width: int, height: int) -> Float32:
    """(n, 4) xyxy pixels -> (n, 4) xyxy in 0..1 of the image, clipped to it."""
    scale = np.array([width, height, width, height], np.float32)
    clipped: Float32 = np.clip(boxes / scale, 0, 1).astype(np.float32)
    return clipped


def non_maximum_suppression(faces: Faces, overlap: float) -> Faces:
    """Faces in falling order of score; one that overlaps a better one by IoU > `overlap` is left
    out."""
    order = np.argsort(-faces.scores, kind="stable")
    overlaps = iou(faces.boxes, faces.boxes)
    kept: list[int] = []
    for row in order:
        if all(overlaps[row, other] <= overlap for other in kept):
            kept.append(int(row))
    return faces[np.array(kept, np.intp)]
