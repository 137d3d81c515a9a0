"""What a track shows by now: its looks in a mean that forgets, and a label that does not flicker.

The mean is arithmetic. So a look counts as much as its weight says, whatever its probabilities: one
sure mistake cannot veto the rest as it would in a product, a true change shows after a time that
does not depend on how sure the looks are, and the confidence stays one that looks really had.
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
    mass: float = 0.0  # of the weights in the mean, as old as they are
    last_s: float = -math.inf
    label: str | None = None  # None: nothing shown yet


class Smoother:
    """The running means of a camera's tracks.

    An observation of weight w made t seconds ago counts w exp(-t / time_constant_s). The shown
    label gives way to one that leads it by `switch_margin`, becomes `unknown` below
    `unknown_below`, and is named again once one stands `switch_margin` above that.
    """

    def __init__(self, settings: SmootherSettings) -> None:
        self._settings = settings
        self._tracks: dict[int, _Memory] = {}

    def update(
        self, track: int, pts_s: float, probabilities: NDArray[np.floating], weight: float
    ) -> Smoothed:
        """Take in a look at a track: (8,) probabilities in the order of EMOTIONS.

        Weights are 0 or more and matter only beside each other; of weight 0 a look changes nothing.
        The confidence is the label's mean, of `unknown` the highest. Raises ValueError for a weight
        below 0 or not finite, and for a look older than the track's last.
        """
        memory = self._tracks.setdefault(track, _Memory())
        if not 0 <= weight < math.inf or pts_s < memory.last_s:
            raise ValueError(
                f"look of track {track}: expected weight >= 0 and pts_s >= {memory.last_s}, "
                f"got {weight} and {pts_s}"
            )
        if weight > 0:
            self._remember(memory, pts_s, probabilities, weight)
            memory.label = self._choose(memory)
        named = memory.label in EMOTIONS
        confidence = memory.mean[EMOTIONS.index(memory.label)] if named else memory.mean.max()
        return Smoothed(label=memory.label or UNKNOWN, confidence=round(float(confidence), 6))

    def drop(self, track: int) -> None:
        """Forget a track that has ended, or that never had a look."""
        self._tracks.pop(track, None)

    def _remember(
        self, memory: _Memory, pts_s: float, probabilities: NDArray[np.floating], weight: float
    ) -> None:
        memory.mass *= math.exp((memory.last_s - pts_s) / self._settings.time_constant_s)
        memory.mass += weight
        memory.mean += weight / memory.mass * (probabilities - memory.mean)
        memory.last_s = pts_s

    def _choose(self, memory: _Memory) -> str:
        least, margin = self._settings.unknown_below, self._settings.switch_margin
        best = int(memory.mean.argmax())
        if memory.label == UNKNOWN:
            return EMOTIONS[best] if memory.mean[best] >= min(least + margin, 1) else UNKNOWN
        if memory.label is not None:
            shown = EMOTIONS.index(memory.label)
            best = best if memory.mean[best] >= memory.mean[shown] + margin else shown
        return EMOTIONS[best] if memory.mean[best] >= least else UNKNOWN
