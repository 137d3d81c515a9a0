"""Multi-frame averaging: crops of one face are aligned, then averaged in linear light.

Under a display a single crop drowns in noise, which differs from frame to frame while the face
stays. Averaging the images before classification gains far more than averaging predictions.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.crops import CROP_PX
from models.quality import NORMAL_MEDIAN

Float32 = NDArray[np.float32]
SMOOTH_PX = 2.0
"""Sigma of the Gaussian before alignment, so that noise does not decide where a face is."""
STEPS, ENOUGH = 30, 1e-4
MOST_TURN, MOST_PX = 0.2, CROP_PX / 4
"""An alignment that rotates, scales or moves by more is not of the same face."""
STILL_PX = 4.0
"""Sigma at which two crops are compared: expressions are coarser than noise."""
CHANGED_SIGMAS, CHANGED = 5.0, 0.035
"""A difference is a change when it is more than so many deviations of its noise, and more than this
share of full light."""
IDENTITY = np.eye(2, 3, dtype=np.float32)


def find_alignment(light: Float32, onto: Float32) -> Float32 | None:
    """The affine map (2, 3) for `warp_crop` that aligns a crop (112, 112, 3) with another, to parts
    of a pixel; None where they do not fit (enhanced correlation, Evangelidis & Psarakis 2008)."""
    ours, theirs = (cv2.GaussianBlur(_luma(one), (0, 0), SMOOTH_PX) for one in (light, onto))
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, STEPS, ENOUGH)
    try:
        _, warp = cv2.findTransformECC(
            theirs, ours, IDENTITY.copy(), cv2.MOTION_AFFINE, criteria, None, 5
        )
    except cv2.error:  # it did not converge
        return None
    off = np.abs(warp - IDENTITY)
    if off[:, :2].max() > MOST_TURN or off[:, 2].max() > MOST_PX:
        return None
    return warp.astype(np.float32)


def warp_crop(light: Float32, warp: Float32) -> Float32:
    """Warp a crop (112, 112, 3) by an alignment (2, 3); beyond its edge the border is repeated."""
    return cv2.warpAffine(
        light,
        warp,
        (CROP_PX, CROP_PX),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    ).astype(np.float32)


def compose_warps(earlier: Float32, later: Float32) -> Float32:
    """One map (2, 3) for both: a crop resampled once is sharper than one resampled repeatedly."""
    return (earlier @ np.vstack([later, (0, 0, 1)])).astype(np.float32)


def is_still(light: Float32, mean: Float32) -> bool:
    """Whether a crop shows the expression of the mean of others, but for the noise of both.

    Noise is spread evenly, a change of expression is local: it stands out from the rest of the
    difference.
    """
    m = CROP_PX // 8
    difference = cv2.GaussianBlur(_luma(light) - _luma(mean), (0, 0), STILL_PX)[m:-m, m:-m]
    difference = np.abs(difference - np.median(difference))  # the light in the room may change
    noise = float(np.median(difference)) / NORMAL_MEDIAN
    return bool(difference.max() <= max(CHANGED_SIGMAS * noise, CHANGED))


def _luma(light: Float32) -> Float32:
    return cv2.cvtColor(light, cv2.COLOR_RGB2GRAY).astype(np.float32)
