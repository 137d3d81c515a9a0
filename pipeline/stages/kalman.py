"""Motion model of one face's box: four independent Kalman filters with a decaying velocity.

A measurement is (centre x, centre y, log width, log height). Noise of the centre is in units of the
box side (geometric mean of width and height), so a face twice as large may move and jitter twice as
far. Time is media time in seconds, so any frame rate and any gap will do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.faces import Float32

Float64 = NDArray[np.float64]

DECAY_S = 1.0
"""Seconds in which velocity decays to 1/e. On every clip measured a decaying velocity predicted
better than a constant one; over half a second of occlusion, 1.0 s kept more ids than 0.5 s."""
ACCELERATION_NOISE = np.array([6.0, 6.0, 1.5, 1.5])
"""Random acceleration, box sides (log size: 1) per s^1.5. Heads in the clips measure 0.2 to 0.7;
the rest is for a panning camera and for a turn between two frames at 5 fps. Below 5 tracks break in
such simulated scenes, from 5 to 7 nothing changes."""
INITIAL_SPEED = np.array([2.0, 2.0, 0.5, 0.5])
"""Standard deviation of a new track's velocity, box sides (log size: 1) per second."""
MEASUREMENT_NOISE = np.array([0.03, 0.03, 0.04, 0.04])
"""Standard deviation of a detector's box, in box sides (log size: 1): CenterFace measured 0.01 on
clean images; 0.02 (centre) and 0.03 (size) on blurred, noisy ones."""
MIN_SIDE_PX = 1e-3


def to_measures(boxes: Float32) -> Float64:
    """(n, 4) xyxy pixels -> (n, 4) centre x, centre y, log width, log height."""
    low, high = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
    return np.hstack([(low + high) / 2, np.log(np.maximum(high - low, MIN_SIDE_PX))])


def to_boxes(measures: Float64) -> Float32:
    """The inverse of `to_measures`: (n, 4) -> (n, 4) xyxy pixels."""
    centre, sides = measures[:, :2], np.exp(measures[:, 2:])
    return np.hstack([centre - sides / 2, centre + sides / 2]).astype(np.float32)


def sides(measures: Float64) -> Float64:
    """Geometric mean of width and height of (..., 4) measures, pixels."""
    return np.exp(measures[..., 2:].mean(axis=-1))


class BoxMotion:
    """State of one box: place and velocity, with their variances and covariance, per coordinate."""

    def __init__(self, measure: Float64) -> None:
        self.place: Float64 = measure.copy()
        self.velocity = np.zeros(4)
        unit = self._unit()
        self._place_variance = (MEASUREMENT_NOISE * unit) ** 2
        self._covariance = np.zeros(4)
        self._velocity_variance = (INITIAL_SPEED * unit) ** 2

    def predict(self, seconds: float) -> None:
        """Advance the state by `seconds` of media time. Two steps equal one of their sum."""
        # Exact solution of dv = -v/DECAY_S dt + noise: the velocity keeps the share `decay`, the
        # place moves by velocity times `travel`, and white noise adds to all three (co)variances.
        decay = np.exp(-seconds / DECAY_S)
        travel = DECAY_S * (1 - decay)
        power = (ACCELERATION_NOISE * self._unit()) ** 2
        self.place = self.place + travel * self.velocity
        self.velocity = decay * self.velocity
        self._place_variance = (
            self._place_variance
            + 2 * travel * self._covariance
            + travel**2 * self._velocity_variance
            + power * DECAY_S**2 * (seconds - 2 * travel + DECAY_S / 2 * (1 - decay**2))
        )
        self._covariance = decay * (self._covariance + travel * self._velocity_variance)
        self._covariance += power * travel**2 / 2
        self._velocity_variance = decay**2 * self._velocity_variance + power * DECAY_S / 2 * (
            1 - decay**2
        )

    def rescale(self, across: float, down: float) -> None:
        """Adapt the state to frames that are so many times as wide and as high as before."""
        factors = np.array([across, down, 1.0, 1.0])
        self.place = self.place * factors + np.log([1.0, 1.0, across, down])
        self.velocity = self.velocity * factors
        self._place_variance = self._place_variance * factors**2
        self._covariance = self._covariance * factors**2
        self._velocity_variance = self._velocity_variance * factors**2

    def correct(self, measure: Float64) -> None:
        """Update the state with a box measured at the present time."""
        innovation = measure - self.place
        # Kalman gain: the share of the innovation that is trusted. It tends to 1 where the
        # prediction is uncertain (a new track, a long gap) and to 0 where the measurement is
        # noisier. The velocity is not measured: it is corrected through its covariance with the
        # place.
        expected = self._innovation_variance()
        place_gain, velocity_gain = self._place_variance / expected, self._covariance / expected
        self.place = self.place + place_gain * innovation
        self.velocity = self.velocity + velocity_gain * innovation
        self._velocity_variance = self._velocity_variance - velocity_gain * self._covariance
        self._covariance = (1 - place_gain) * self._covariance
        self._place_variance = (1 - place_gain) * self._place_variance

    def spread(self) -> float:
        """Standard deviation of the next measured centre about `place`, in box sides: the scale of
        the tracker's gate."""
        return float(np.sqrt(self._innovation_variance()[0]) / self._unit()[0])

    def _innovation_variance(self) -> Float64:
        variance: Float64 = self._place_variance + (MEASUREMENT_NOISE * self._unit()) ** 2
        return variance

    def _unit(self) -> Float64:
        side = float(sides(self.place))
        return np.array([side, side, 1.0, 1.0])
