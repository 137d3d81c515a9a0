"""Face detection in a noisy image: at several smaller sizes, their detections fused.

Shrinking in linear light removes noise and keeps the detail that a display lets through; smoothing
at full size leaves a soft image in which detectors find no face (docs/LOG.md has both).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from models.detectors.base import Image, scale_image, stretch_levels
from models.faces import Faces, Float32, iou
from models.light import to_linear_light, to_srgb

SHRINK = 0.7
"""Pixels that become one, along each axis, at a noise of one level; grows with the square root of
the noise."""
SIZES = (0.7, 0.81, 0.93, 1.07, 1.23, 1.42)
FEW, STRONG = (0.81, 1.23), 16.0
"""Sizes as shares of the one so given: all of them where the noise is above STRONG, else FEW."""
LEAST_PX, STEP_PX = 32, 8
CUT = 3.0
"""Per cent of a small image's levels that are cut off at either end."""
SAME_FACE = 0.4
"""IoU from which on boxes of two sizes are one face."""
NOISES, GAINS = (2.5, 25.0), (1.3, 2.2)
"""Mean scores are multiplied by a gain interpolated over the noise, so that the threshold of clear
images holds for noisy ones (docs/LOG.md: the measurement, and the false boxes it costs)."""


def detect_multi_scale(
    detect: Callable[[Image], Faces], image: Image, noise: float, most_px: int
) -> Faces:
    """Faces that `detect` finds at several sizes of an image (h, w, 3) uint8 RGB, in its pixels,
    best score first.

    `detect` must return weak scores too. `noise` is the standard deviation of the luma, of 255; no
    size has a longer side above `most_px`.
    """
    light = to_linear_light(image)
    detections = []
    for px in sizes(max(image.shape[:2]), noise, most_px):
        small, scale = scale_image(light, px)
        detections.append(detect(stretch_levels(to_srgb(small), CUT)).transform(1 / scale))
    return fuse_detections(detections, float(np.interp(noise, NOISES, GAINS)))


def sizes(longer_px: int, noise: float, most_px: int) -> list[int]:
    """Longer sides in pixels, rising, each once.

    >>> sizes(640, 46.0, 448)
    [96, 112, 128, 144, 168, 192]
    >>> sizes(640, 10.0, 448)
    [232, 352]
    """
    middle = longer_px / (SHRINK * noise**0.5)
    shares = SIZES if noise > STRONG else FEW
    wanted = (STEP_PX * round(share * middle / STEP_PX) for share in shares)
    return sorted({int(np.clip(px, LEAST_PX, most_px)) for px in wanted})


def fuse_detections(detections: Sequence[Faces], gain: float = 1.0) -> Faces:
    """Fuse detections at several sizes of one image: boxes and landmarks averaged by their scores
    (weighted boxes fusion, Solovyev et al. 2021, arXiv 1910.13302), best score first.

    The score of a face is its mean over all sizes, 0 where it was not found, times `gain`, at
    most 1.
    """
    boxes = np.concatenate([faces.boxes for faces in detections])
    scores = np.concatenate([faces.scores for faces in detections])
    points = np.concatenate([faces.landmarks for faces in detections])
    fused = [
        _fuse_group(boxes[rows], scores[rows], points[rows], gain / len(detections))
        for rows in _groups(boxes, scores, [len(faces) for faces in detections])
    ]
    if not fused:
        return Faces.none()
    fused_boxes, fused_scores, landmarks = (
        np.stack(part).astype(np.float32) for part in zip(*fused, strict=True)
    )
    order = np.argsort(-fused_scores, kind="stable")
    return Faces(fused_boxes, fused_scores, landmarks)[order]


def _groups(boxes: Float32, scores: Float32, counts: Sequence[int]) -> Iterator[list[int]]:
    """Rows of one face: the best that is left, and at every other size the best that overlaps."""
    size = np.repeat(np.arange(len(counts)), counts)
    left = np.argsort(-scores, kind="stable")
    while len(left):
        near = iou(boxes[left[:1]], boxes[left])[0] >= SAME_FACE
        near[0] = True  # a box without area overlaps nothing, not even itself
        first = {int(size[row]): int(row) for row in left[near][::-1]}
        yield list(first.values())
        left = left[~near]


def _fuse_group(
    boxes: Float32, scores: Float32, points: Float32, share: float
) -> tuple[Float32, np.float32, Float32]:
    score = min(share * float(scores.sum()), 1.0)
    weights = scores / scores.sum()
    box, landmarks = np.tensordot(weights, boxes, 1), np.tensordot(weights, points, 1)
    return box, np.float32(score), landmarks
