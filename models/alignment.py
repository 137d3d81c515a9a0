"""Alignment of faces by five points: a similarity brings eyes and mouth to fixed places.

Points and maps are in shares, 0..1, of a square that holds the face: the tile of a labelled face,
or the square crop of a face's box. So one rule says in training and in serving how large a
correction may be. Points that break it are weak, and the square is left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.faces import Float32

Float64 = NDArray[np.float64]
TEMPLATE = np.array([[0.322, 0.389], [0.678, 0.389], [0.5, 0.597], [0.356, 0.752], [0.644, 0.752]])
"""Where `models.faces.LANDMARKS` are in an aligned square: their mean over 1,457 faces of FER+'s
Training outside the validation cut (CenterFace), made symmetric."""
LEAST_SCORE = 0.3
"""Least score of the detector, at which training looks for points too."""
LEAST_PX = 24
"""Least side of the square in pixels: half of that of a labelled tile."""
MOST_RESIDUAL = 0.06
MOST_ROTATION, MOST_SCALE, MOST_SHIFT = 40.0, 1.5, 0.3
"""Largest correction: degrees, a factor either way, and shares of the side that the middle moves.
More than that a face is seldom off its box; detections that are wrong often are."""
MIDDLE = 0.5 + 0.5j


@dataclass(frozen=True)
class Similarities:
    """Maps x -> scale * rotation(x) + shift of n squares onto their aligned squares.

    `factors`, `shifts` (n,) complex128, x + iy: a point z goes to factor * z + shift. `residuals`
    (n,): root mean square distance of the mapped points to the template.
    """

    factors: NDArray[np.complex128]
    shifts: NDArray[np.complex128]
    residuals: Float64

    @property
    def rotations(self) -> Float64:
        """(n,) degrees, positive from the x axis towards the y axis."""
        return np.degrees(np.angle(self.factors))

    @property
    def scales(self) -> Float64:
        """(n,) factors by which the face grows."""
        return np.abs(self.factors)

    @property
    def moves(self) -> Float64:
        """(n,) how far the middle of the square moves."""
        return np.abs(self.factors * MIDDLE + self.shifts - MIDDLE)

    def matrices(self) -> Float64:
        """(n, 2, 3): the same maps of points (x, y, 1)."""
        a, b = self.factors, self.shifts
        rows = [[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]]
        return np.array(rows).transpose(2, 0, 1)


def fit_similarities(points: Float32, template: Float64 = TEMPLATE) -> Similarities:
    """The similarities that bring points (n, 5, 2) nearest to the template (5, 2), by least
    squares and without reflection (Umeyama 1991, doi 10.1109/34.88573, eq. 40 to 42).

    In the plane a similarity without reflection is one complex factor and one shift, so the
    optimum is a linear regression. Where all five points are one, the factor is 0.
    """
    z, w = (np.asarray(p, np.float64) @ np.array([1, 1j]) for p in (points, template))
    z_mean, w_mean = z.mean(axis=1), w.mean()
    z_off, w_off = z - z_mean[:, None], w - w_mean
    spread = (np.abs(z_off) ** 2).sum(axis=1)
    factors = (z_off.conj() @ w_off) / np.where(spread > 0, spread, 1)
    shifts = w_mean - factors * z_mean
    errors = np.abs(factors[:, None] * z + shifts[:, None] - w)
    return Similarities(factors, shifts, np.sqrt((errors**2).mean(axis=1)))


def find_corrections(points: Float32, scores: Float32, sides_px: Float32) -> Float64:
    """The maps (n, 2, 3) that align squares of `sides_px` (n,) pixels, given the points (n, 5, 2)
    of their faces and the detector's scores (n,) in 0..1; not a number where points are weak.

    Weak are points of a low score, in a small square, that are not placed as in a face, or that
    would ask for a larger correction than the constants above allow.
    """
    fitted = fit_similarities(points)
    with np.errstate(divide="ignore"):
        is_strong = (
            (scores >= LEAST_SCORE)
            & (sides_px >= LEAST_PX)
            & (fitted.residuals <= MOST_RESIDUAL)
            & (np.abs(fitted.rotations) <= MOST_ROTATION)
            & (np.abs(np.log(fitted.scales)) <= np.log(MOST_SCALE))
            & (fitted.moves <= MOST_SHIFT)
        )
    return np.where(is_strong[:, None, None], fitted.matrices(), np.nan)


def warp_square(
    image: NDArray[np.uint8], left: float, top: float, side: float, matrix: Float64, px: int
) -> NDArray[np.uint8]:
    """The aligned square of an image (h, w[, 3]) uint8: (px, px[, 3]), cubic, the image's border
    repeated beyond its edge. `matrix` (2, 3) maps shares of the square at `left`, `top` with this
    `side`, in pixels, to shares of the aligned one."""
    whole = np.vstack([matrix, [0, 0, 1]])
    # Pixel i has its middle at i + 0.5; OpenCV counts from that middle.
    to_shares = np.array([[1 / px, 0, 0.5 / px], [0, 1 / px, 0.5 / px], [0, 0, 1]])
    to_image = np.array([[side, 0, left - 0.5], [0, side, top - 0.5]])
    how = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    from_image = to_image @ np.linalg.inv(whole) @ to_shares
    warped = cv2.warpAffine(image, from_image, (px, px), flags=how, borderMode=cv2.BORDER_REPLICATE)
    return warped.astype(np.uint8)


def align_tiles(tiles: NDArray[np.uint8], points: Float32, scores: Float32) -> NDArray[np.uint8]:
    """Tiles (n, h, h[, 3]) uint8 aligned by their points; those of weak points as they are."""
    side = tiles.shape[1]
    corrections = find_corrections(points, scores, np.full(len(tiles), side, np.float32))
    aligned = tiles.copy()
    for row in np.flatnonzero(np.isfinite(corrections[:, 0, 0])):
        aligned[row] = warp_square(tiles[row], 0, 0, side, corrections[row], side)
    return aligned
