"""What a track shows by now: an exponentially weighted mean of its observations, and a label with
hysteresis.

The mean is arithmetic, so an observation counts as much as its weight says, whatever its
probabilities: one confident mistake cannot veto the others as it would in a product, a true change
shows after a time that does not depend on how confident the observations are, and the confidence
stays one that observations really had.

At media time T, the newest observation's, the mean is sum(w_i d_i p_i) / sum(w_i d_i) with the
decay d_i = exp((t_i - T) / time_constant_s). An observation of an earlier time t < T, such as a
late answer, enters with the decay that it would have by now, so the mean does not depend on the
order in which observations arrive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.emotions import EMOTIONS, UNKNOWN
from pipeline.records import Smoothed
from pipeline.settings import SmootherSettings

Float64 = NDArray[np.float64]


@dataclass
class _Memory:
    mean: Float64 = field(default_factory=lambda: np.zeros(len(EMOTIONS)))
    mass: float = 0.0  # sum of the decayed weights in the mean, at last_s
    last_s: float = -math.inf  # media time of the newest observation in the mean
    label: str | None = None  # None: no observation yet


class Smoother:
    """The running means of a camera's tracks.

    The label changes to one that leads it by `switch_margin`, to `unknown` below `unknown_below`,
    and from `unknown` to a label that is `switch_margin` above that.
    """

    def __init__(self, settings: SmootherSettings) -> None:
        self._settings = settings
        self._tracks: dict[int, _Memory] = {}

    def update(
        self, track: int, pts_s: float, probabilities: NDArray[np.floating], weight: float
    ) -> Smoothed:
        """Add an observation of a track: (8,) probabilities in the order of EMOTIONS, at media time
        `pts_s`, which may be earlier than that of other observations.

        Only the ratios of weights matter; an observation of weight 0 changes nothing. The
        confidence is the label's mean, for `unknown` the highest mean. Raises ValueError for a
        weight below 0 or not finite.
        """
        if not 0 <= weight < math.inf:
            raise ValueError(
                f"observation of track {track}: expected a finite weight >= 0, got {weight}"
            )
        memory = self._tracks.setdefault(track, _Memory())
        if weight > 0:
            self._add(memory, pts_s, probabilities, weight)
            memory.label = self._choose(memory)
        named = memory.label in EMOTIONS
        confidence = memory.mean[EMOTIONS.index(memory.label)] if named else memory.mean.max()
        return Smoothed(label=memory.label or UNKNOWN, confidence=round(float(confidence), 6))

    def drop(self, track: int) -> None:
        """Forget a track, whether or not it had an observation."""
        self._tracks.pop(track, None)

    def _add(
        self, memory: _Memory, pts_s: float, probabilities: NDArray[np.floating], weight: float
    ) -> None:
        now_s = max(memory.last_s, pts_s)
        memory.mass *= self._decay(now_s - memory.last_s)
        weight *= self._decay(now_s - pts_s)
        memory.mass += weight
        if weight > 0:  # one so old that its weight underflows changes nothing
            memory.mean += weight / memory.mass * (probabilities - memory.mean)
        memory.last_s = now_s

    def _decay(self, age_s: float) -> float:
        return math.exp(-age_s / self._settings.time_constant_s)

    def _choose(self, memory: _Memory) -> str:
        least, margin = self._settings.unknown_below, self._settings.switch_margin
        best = int(memory.mean.argmax())
        if memory.label == UNKNOWN:
            return EMOTIONS[best] if memory.mean[best] >= min(least + margin, 1) else UNKNOWN
        if memory.label is not None:
            shown = EMOTIONS.index(memory.label)
            best = best if memory.mean[best] >= memory.mean[shown] + margin else shown
        return EMOTIONS[best] if memory.mean[best] >= least else UNKNOWN
