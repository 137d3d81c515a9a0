"""Which weights score a face: those for good pictures, or those that learned behind displays."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from pipeline.frames import CroppedFaces, Route
from pipeline.settings import EmotionSettings

MEMORY_S = 1.0
"""Media seconds after which a look's noise counts 1/e in its track's."""
BACK_AT = 0.8
"""A track is good again below this share of the noise that made it bad: it does not flap."""
GOOD = Route()


@dataclass
class _Track:
    noise: float
    last_s: float
    is_bad: bool = False


class Router:
    """Chooses for every face of one camera; what its tracks looked like lives here.

    A camera says by its settings whether it is `under_display`; where it does not, the noise of a
    track's looks decides, averaged over about a second (see `models.quality`). Without
    weights for bad pictures there is nothing to choose.
    """

    def __init__(self, settings: EmotionSettings, under_display: bool | None = None) -> None:
        self._weights, self._threshold = settings.bad, settings.degraded_noise
        self._always = under_display
        self._tracks: dict[int, _Track] = {}

    def __call__(self, cropped: CroppedFaces) -> CroppedFaces:
        """The same faces, each with the weights that are to score it."""
        if not self._weights:
            return cropped
        pts_s = cropped.tracked.header.pts_s
        numbers = cropped.tracked.track_ids.tolist()
        looks = zip(numbers, cropped.quality.noise.tolist(), strict=True)
        choices = tuple(self._choice(number, pts_s, noise) for number, noise in looks)
        for number in cropped.tracked.ended:
            self._tracks.pop(number, None)
        return replace(cropped, choices=choices)

    def _choice(self, number: int, pts_s: float, noise: float) -> Route:
        if self._always is not None:
            return Route(self._weights, "camera under a display") if self._always else GOOD
        track = self._tracks.setdefault(number, _Track(noise, pts_s))
        track.noise += (1 - math.exp((track.last_s - pts_s) / MEMORY_S)) * (noise - track.noise)
        track.last_s = pts_s
        track.is_bad = track.noise > self._threshold * (BACK_AT if track.is_bad else 1)
        return Route(self._weights, f"noise {track.noise:.3f}") if track.is_bad else GOOD
