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
FEW, STRONG = (0.81, 1.23), 16.0
"""The sizes looked at, of the one so given: many where the noise is strong, else few."""
LEAST_PX, STEP_PX = 32, 8
CUT = 3.0
"""Per cent of a small picture's levels that are cut off at either end."""
SAME_FACE = 0.4
"""IoU from which on boxes of two sizes are one face."""
NOISES, GAINS = (2.5, 25.0), (1.3, 2.2)
"""The noisier a picture, the more a face's mean score over the sizes is worth: so multiplied, faces
are found at the threshold of clear pictures (docs/LOG.md: which, and the false boxes it costs)."""


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
    return agreed(found, float(np.interp(noise, NOISES, GAINS)))


def sizes(longer_px: int, noise: float, most_px: int) -> list[int]:
    """Longer sides to look at, pixels, rising, each once.

    >>> sizes(640, 46.0, 448)
    [96, 112, 128, 144, 168, 192]
    >>> sizes(640, 10.0, 448)
    [232, 352]
    """
    middle = longer_px / (SHRINK * noise**0.5)
    shares = SIZES if noise > STRONG else FEW
    wanted = (STEP_PX * round(share * middle / STEP_PX) for share in shares)
    return sorted({int(np.clip(px, LEAST_PX, most_px)) for px in wanted})


def agreed(looks: Sequence[Faces], gain: float = 1.0) -> Faces:
    """Faces of several looks at one picture made one: boxes and landmarks averaged by their scores
    (weighted boxes fusion, Solovyev et al. 2021, arXiv 1910.13302), best score first.

    The score of a face is its mean over all looks, 0 where one did not show it, times `gain`, at
    most 1.
    """
    boxes = np.concatenate([faces.boxes for faces in looks])
    scores = np.concatenate([faces.scores for faces in looks])
    points = np.concatenate([faces.landmarks for faces in looks])
    fused = [
        _one(boxes[rows], scores[rows], points[rows], gain / len(looks))
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
    boxes: Float32, scores: Float32, points: Float32, share: float
) -> tuple[Float32, np.float32, Float32]:
    sure = min(share * float(scores.sum()), 1.0)
    weights = scores / scores.sum()
    box, landmarks = np.tensordot(weights, boxes, 1), np.tensordot(weights, points, 1)
    return box, np.float32(sure), landmarks
