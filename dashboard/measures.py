"""What the Compare page measures of a bucket of observations: a share, or a number derived from it.

Valence and arousal are sums of the eight mean probabilities, each times the coordinates of its
word in the norms of Russell and Mehrabian (Evidence for a three-factor theory of emotions, 1977:
happy, surprised, sad, angry, disgusted, fearful), as they are usually quoted; we have not seen the
paper's own table. Neutral is the origin; contempt, which we do not
take from there, has half of disgust's. They say nothing that the shares do not say, and less about
what a person feels than their names suggest; so they are off unless switched on.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.emotions import EMOTIONS, UNKNOWN
from pipeline.store.queries import NEGATIVE, Shares

NEGATIVE_SHARE, OBSERVATIONS, VALENCE, AROUSAL = "negative", "observations", "valence", "arousal"
COORDINATES: dict[str, tuple[float, float]] = {
    "neutral": (0.0, 0.0),
    "happiness": (0.81, 0.51),
    "surprise": (0.40, 0.67),
    "sadness": (-0.63, -0.27),
    "anger": (-0.51, 0.59),
    "disgust": (-0.60, 0.35),
    "fear": (-0.64, 0.60),
    "contempt": (-0.30, 0.175),
}
"""Valence and arousal of each label, -1..1."""
DERIVED = (VALENCE, AROUSAL)


@dataclass(frozen=True)
class Measure:
    """One number of a bucket; `title` for the selector, `unit` "%" or ""."""

    name: str
    title: str
    unit: str

    def of(self, shares: Shares) -> float | None:
        """Its value; None without observations."""
        total = shares.observations
        if self.name == OBSERVATIONS:
            return float(total)
        if not total:
            return None
        if self.name in DERIVED:
            axis = DERIVED.index(self.name)
            weights = (COORDINATES[emotion][axis] for emotion in EMOTIONS)
            return round(sum(w * p for w, p in zip(weights, shares.mean, strict=True)), 3)
        labels = NEGATIVE if self.name == NEGATIVE_SHARE else (self.name,)
        return round(100 * sum(shares.counts.get(label, 0) for label in labels) / total, 1)

    @property
    def limits(self) -> tuple[float, float] | None:
        """The ends of its scale; None where it has no upper end."""
        if self.name == OBSERVATIONS:
            return None
        return (-1.0, 1.0) if self.name in DERIVED else (0.0, 100.0)


def list_measures(with_derived: bool) -> dict[str, Measure]:
    """All measures by name."""
    shares = [
        Measure(NEGATIVE_SHARE, "negative labels", "%"),
        *(Measure(label, label, "%") for label in (*EMOTIONS, UNKNOWN)),
        Measure(OBSERVATIONS, "number of observations", ""),
    ]
    derived = [Measure(name, f"{name} (derived)", "") for name in DERIVED]
    return {one.name: one for one in (*shares, *(derived if with_derived else []))}
