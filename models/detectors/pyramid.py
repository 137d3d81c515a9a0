"""Faces in a noisy picture: it is shrunk to several sizes, and what they show together counts.

Shrinking in linear light takes the noise and keeps all that a display lets through; smoothing at
full size leaves a soft picture in which detectors see no face (docs/LOG.md has both).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from models.detectors.base import Picture, scaled
from models.detectors.levels import stretched
from models.faces import Faces, Float32, iou
from models.light import to_light, to_srgb

SHRINK = 0.7
"""Pixels that become one, along each axis, for a noise of one level; they grow with its root."""
SIZES = (0.7, 0.81, 0.93, 1.07, 1.23, 1.42)
"""The sizes looked at, of the one so given."""
LEAST_PX, STEP_PX = 32, 8
CUT = 3.0
"""Per cent of a small picture's levels that are cut off at either end."""
SAME_FACE = 0.4
"""IoU from which on boxes of two sizes are one face."""
GAIN = 2.5
"""A face's mean score over the sizes, so multiplied, is worth a score of a clear picture: at the
same threshold both have as few false boxes."""


def find_in_noise(
    look: Callable[[Picture], Faces], picture: Picture, noise: float, most_px: int
) -> Faces:
    """What `look` finds at several sizes of a picture (h, w, 3) uint8 RGB, best score first.

    `look` is to give weak scores too. `noise` is the standard deviation of the luma, of 255; no
    size has a longer side above `most_px`.
    """
    light = to_light(picture)
    found = []
    for px in sizes(max(picture.shape[:2]), noise, most_px):
        small, scale = scaled(light, px)
        found.append(look(stretched(to_srgb(small), CUT)).moved(1 / scale))
    return agreed(found)


def sizes(longer_px: int, noise: float, most_px: int) -> list[int]:
    """Longer sides to look at, pixels, rising, each once.

    >>> sizes(640, 46.0, 448)
    [96, 112, 128, 144, 168, 192]
    >>> sizes(640, 4.0, 448)
    [320, 368, 424, 448]
    """
    middle = longer_px / (SHRINK * noise**0.5)
    wanted = (STEP_PX * round(share * middle / STEP_PX) for share in SIZES)
    return sorted({int(np.clip(px, LEAST_PX, most_px)) for px in wanted})


def agreed(looks: Sequence[Faces]) -> Faces:
    """Faces of several looks at one picture made one: boxes and landmarks averaged by their scores
    (weighted boxes fusion, Solovyev et al. 2021, arXiv 1910.13302), best score first.

    The score of a face is its mean over all looks, 0 where one did not show it, times GAIN, at
    most 1.
    """
    boxes = np.concatenate([faces.boxes for faces in looks])
    scores = np.concatenate([faces.scores for faces in looks])
    points = np.concatenate([faces.landmarks for faces in looks])
    fused = [
        _one(boxes[rows], scores[rows], points[rows], len(looks))
        for rows in _groups(boxes, scores, [len(faces) for faces in looks])
    ]
    if not fused:
        return Faces.none()
    ours, sure, landmarks = (np.stack(part).astype(np.float32) for part in zip(*fused, strict=True))
    order = np.argsort(-sure, kind="stable")
    return Faces(ours, sure, landmarks)[order]


def _groups(boxes: Float32, scores: Float32, counts: Sequence[int]) -> Iterator[list[int]]:
    """Rows that show one face: the best one left, and of every other look the best on its place."""
    look = np.repeat(np.arange(len(counts)), counts)
    left = np.argsort(-scores, kind="stable")
    while len(left):
        near = iou(boxes[left[:1]], boxes[left])[0] >= SAME_FACE
        near[0] = True  # a box without area overlaps nothing, not even itself
        first = {int(look[row]): int(row) for row in left[near][::-1]}
        yield list(first.values())
        left = left[~near]


def _one(
    boxes: Float32, scores: Float32, points: Float32, looks: int
) -> tuple[Float32, np.float32, Float32]:
    sure = min(GAIN * float(scores.sum()) / looks, 1.0)
    weights = scores / scores.sum()
    box, landmarks = np.tensordot(weights, boxes, 1), np.tensordot(weights, points, 1)
    return box, np.float32(sure), landmarks
