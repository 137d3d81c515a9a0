"""How one face's box moves: four independent Kalman filters with a velocity that fades.

A measurement is (centre x, centre y, log width, log height). Noise of the centre is counted in box
sides (geometric mean of width and height), so a face twice as large may move and jitter twice as
far. Seconds of media time drive it, hence any frame rate and any gap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.faces import Float32

Float64 = NDArray[np.float64]

FADE_S = 1.0
"""Seconds in which velocity falls to 1/e. On every clip measured a fading velocity predicted better
than a constant one; across half a second behind another face, 1.0 s kept more ids than 0.5 s."""
UNREST = np.array([6.0, 6.0, 1.5, 1.5])
"""Random acceleration, box sides (log size: 1) per s^1.5. Heads in the clips show 0.2 to 0.7; this
leaves room for a camera that is swept round and for a turn between two looks at 5 fps. Below 5 such
worlds break up, from 5 to 7 nothing changes."""
FIRST_SPEED = np.array([2.0, 2.0, 0.5, 0.5])
"""Standard deviation of a new face's velocity, box sides (log size: 1) per second."""
JITTER = np.array([0.03, 0.03, 0.04, 0.04])
"""Standard deviation of a detector's box, in box sides (log size: 1): CenterFace measured 0.01 on
clean and 0.02 centre, 0.03 size on blurred, noisy pictures."""
LEAST_SIDE_PX = 1e-3


def to_measures(boxes: Float32) -> Float64:
    """(n, 4) xyxy pixels -> (n, 4) centre x, centre y, log width, log height."""
    low, high = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
    return np.hstack([(low + high) / 2, np.log(np.maximum(high - low, LEAST_SIDE_PX))])


def to_boxes(measures: Float64) -> Float32:
    """The way back from `to_measures`."""
    centre, sides = measures[:, :2], np.exp(measures[:, 2:])
    return np.hstack([centre - sides / 2, centre + sides / 2]).astype(np.float32)


def sides(measures: Float64) -> Float64:
    """Geometric mean of width and height of (..., 4) measures, pixels."""
    return np.exp(measures[..., 2:].mean(axis=-1))


class BoxMotion:
    """The place and velocity of one box, and how well they are known."""

    def __init__(self, measure: Float64) -> None:
        self.place: Float64 = measure.copy()
        self.velocity = np.zeros(4)
        unit = self._unit()
        self._place_variance = (JITTER * unit) ** 2
        self._covariance = np.zeros(4)
        self._velocity_variance = (FIRST_SPEED * unit) ** 2

    def predict(self, seconds: float) -> None:
        """Let media time pass. Two steps are worth the one of their sum."""
        fade = np.exp(-seconds / FADE_S)
        gain = FADE_S * (1 - fade)
        power = (UNREST * self._unit()) ** 2
        self.place = self.place + gain * self.velocity
        self.velocity = fade * self.velocity
        self._place_variance = (
            self._place_variance
            + 2 * gain * self._covariance
            + gain**2 * self._velocity_variance
            + power * FADE_S**2 * (seconds - 2 * gain + FADE_S / 2 * (1 - fade**2))
        )
        self._covariance = fade * (self._covariance + gain * self._velocity_variance)
        self._covariance += power * gain**2 / 2
        self._velocity_variance = fade**2 * self._velocity_variance + power * FADE_S / 2 * (
            1 - fade**2
        )

    def rescale(self, across: float, down: float) -> None:
        """Frames are so many times as wide and as high from now on."""
        factors = np.array([across, down, 1.0, 1.0])
        self.place = self.place * factors + np.log([1.0, 1.0, across, down])
        self.velocity = self.velocity * factors
        self._place_variance = self._place_variance * factors**2
        self._covariance = self._covariance * factors**2
        self._velocity_variance = self._velocity_variance * factors**2

    def correct(self, measure: Float64) -> None:
        """Take in a box that was found at the present time."""
        innovation = measure - self.place
        expected = self._innovation_variance()
        place_gain, velocity_gain = self._place_variance / expected, self._covariance / expected
        self.place = self.place + place_gain * innovation
        self.velocity = self.velocity + velocity_gain * innovation
        self._velocity_variance = self._velocity_variance - velocity_gain * self._covariance
        self._covariance = (1 - place_gain) * self._covariance
        self._place_variance = (1 - place_gain) * self._place_variance

    def spread(self) -> float:
        """Standard deviation of the next box's centre about `place`, in box sides."""
        return float(np.sqrt(self._innovation_variance()[0]) / self._unit()[0])

    def _innovation_variance(self) -> Float64:
        variance: Float64 = self._place_variance + (JITTER * self._unit()) ** 2
        return variance

    def _unit(self) -> Float64:
        side = float(sides(self.place))
        return np.array([side, side, 1.0, 1.0])
