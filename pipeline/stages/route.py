"""Which route a face takes, with which weights, and why.

The reason stands in the records: `mode`, `under_display`, `noise 0.031`, `uncertain 0.62`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.faces import Faces
from models.quality import QualityMeasures
from pipeline.emotion_settings import AUTO, FAST, ROBUST, EmotionSettings
from pipeline.errors import ConfigError
from pipeline.frames import (
    ClassifiedFaces,
    CroppedFaces,
    LateAnswer,
    Route,
    ScoredBy,
    TrackedFaces,
)

MEMORY_S = 1.0
"""Media seconds after which the noise of an observation counts 1/e in its track's."""
BACK_AT = 0.8
"""A track counts as clean again below this share of the threshold, so it does not flap."""
BURST = 4
"""Faces that robust may be asked for at once, after a time in which fast was certain."""


class RobustClient(Protocol):
    """The part of a classifier client that asks the route robust and does not wait for it."""

    @property
    def model(self) -> str:
        """Name of the weights of the route fast."""
        ...

    @property
    def mode(self) -> str:
        """How the network of the route fast is run."""
        ...

    @property
    def in_flight(self) -> AbstractSet[int]:
        """The tracks with a request whose answer has not been taken yet."""
        ...

    def request(self, cropped: CroppedFaces) -> None:
        """Send faces to their route; the answers are taken later."""
        ...

    def late_answers(self) -> Sequence[LateAnswer]:
        """The answers that have arrived since the last call, of tracks that have not ended."""
        ...


class ComputeShare:
    """A token bucket of compute: what is spent never exceeds `share` of what was earned.

    At most `burst` may be saved, so that a long certain time does not pay for a long load later.
    """

    def __init__(self, share: float, burst: float) -> None:
        self._share, self._burst = share, burst
        self._tokens = 0.0

    def earn(self, cost: float) -> None:
        """So much was computed by the other route."""
        self._tokens = min(self._tokens + self._share * cost, self._burst)

    def spend(self, cost: float) -> bool:
        """Whether so much may be computed now; if so it is spent."""
        if cost > self._tokens:
            return False
        self._tokens -= cost
        return True


@dataclass
class _Track:
    noise: float
    last_s: float
    is_degraded: bool = False


class Router:
    """Decides for every face of one camera; the state of its tracks lives here.

    The mode is the route of all faces; in `auto` fast answers every face, and `ask_robust` sends
    those of which fast is uncertain to robust as well. Within a route, faces in degraded images
    are scored by `degraded_weights`, where there are any: a camera says by its settings whether it
    is `under_display`; where it does not, the noise of a track decides, averaged over about a
    second (see `models.quality`). In `auto` one decision holds for both routes: by the
    `degraded_noise` of fast, or of robust where fast has no weights for degraded images. Raises
    ConfigError, which names the setting `mode_key`, for a mode without its route.
    """

    def __init__(
        self,
        settings: EmotionSettings,
        under_display: bool | None = None,
        mode_key: str = "emotion.mode",
    ) -> None:
        if fault := settings.fault_of(settings.mode):
            what, _, remedy = fault.partition(": ")
            raise ConfigError(what, mode_key, remedy)
        routes = settings.routes
        self._name = ROBUST if settings.mode == ROBUST else FAST
        self._route = routes.by_name()[self._name]
        self._robust = routes.robust if settings.mode == AUTO else None
        routed = [route for route in (self._route, self._robust) if route and route.degraded]
        self._max_noise = routed[0].degraded_noise if routed else None
        self._under_display = under_display
        self._tracks: dict[int, _Track] = {}
        if self._robust:
            cost = self._robust.cost
            self._budget = ComputeShare(self._robust.share, BURST * cost)

    def __call__(self, cropped: CroppedFaces) -> CroppedFaces:
        """The same faces, each with its route; without where all take fast with its own weights."""
        if self._name == FAST and self._max_noise is None:
            return cropped
        degraded = self._route.degraded
        pts_s = cropped.tracked.header.pts_s
        tracks = cropped.tracked.track_ids.tolist()
        routes = []
        for track, noise in zip(tracks, cropped.quality.noise.tolist(), strict=True):
            # Measured also where only robust has weights for it: `ask_robust` needs to know.
            found = self._degraded_reason(track, pts_s, noise)
            reason = found if degraded else ""
            because = ["mode"] if self._name == ROBUST else []
            because += [reason] if reason else []
            routes.append(Route(self._name, degraded if reason else "", "; ".join(because)))
        for track in cropped.tracked.ended:
            self._tracks.pop(track, None)
        if self._name == FAST and not degraded:
            return cropped
        return replace(cropped, routes=tuple(routes))

    def ask_robust(
        self, client: RobustClient, cropped: CroppedFaces, classified: ClassifiedFaces
    ) -> tuple[ClassifiedFaces, Sequence[LateAnswer]]:
        """In the mode auto, ask robust for the faces of which fast is uncertain, the most uncertain
        first, within robust's share of compute; outside it, nothing.

        Returns the faces, with the reason where they are asked again, and the answers of robust
        that have arrived by now. They are weighted equally with those of fast unless
        `fusion_weight` says otherwise.
        """
        if self._robust is None:
            return classified, ()
        rows = self._uncertain_rows(classified, client.in_flight)
        if len(rows):
            reasons = {row: f"uncertain {classified.scores.uncertainty[row]:.2f}" for row in rows}
            client.request(self._again(cropped, rows, reasons))
            classified = _with_reasons(classified, reasons, ScoredBy(client.model, client.mode))
        weight = self._robust.fusion_weight
        late = [replace(answer, fusion_weight=weight) for answer in client.late_answers()]
        return classified, late

    def _uncertain_rows(
        self, classified: ClassifiedFaces, in_flight: AbstractSet[int]
    ) -> list[int]:
        assert self._robust is not None
        self._budget.earn(float(classified.answered.sum()))
        uncertainty = classified.scores.uncertainty
        tracks = classified.tracked.track_ids
        return [
            row
            for row in np.argsort(-uncertainty, kind="stable").tolist()
            if classified.answered[row]
            and uncertainty[row] > self._robust.uncertain_above
            and int(tracks[row]) not in in_flight
            and self._budget.spend(self._robust.cost)
        ]

    def _again(
        self, cropped: CroppedFaces, rows: list[int], reasons: dict[int, str]
    ) -> CroppedFaces:
        assert self._robust is not None
        degraded, tracks = self._robust.degraded, cropped.tracked.track_ids.tolist()
        routes = tuple(
            Route(ROBUST, degraded if self._is_degraded(tracks[row]) else "", reasons[row])
            for row in rows
        )
        return select_faces(cropped, np.array(rows, np.int64), routes)

    def _degraded_reason(self, number: int, pts_s: float, noise: float) -> str:
        """Why the images of a track count as degraded; "" where they do not, or no weights are for
        such images."""
        if self._max_noise is None:
            return ""
        if self._under_display is not None:
            return "under_display" if self._under_display else ""
        track = self._tracks.setdefault(number, _Track(noise, pts_s))
        track.noise += (1 - math.exp((track.last_s - pts_s) / MEMORY_S)) * (noise - track.noise)
        track.last_s = pts_s
        threshold = self._max_noise * (BACK_AT if track.is_degraded else 1)
        track.is_degraded = track.noise > threshold
        return f"noise {track.noise:.3f}" if track.is_degraded else ""

    def _is_degraded(self, number: int) -> bool:
        """Whether the images of a track counted as degraded in the frame that was routed last."""
        if self._under_display is not None:
            return self._under_display
        return number in self._tracks and self._tracks[number].is_degraded


def select_faces(
    cropped: CroppedFaces, rows: NDArray[np.int64], routes: tuple[Route, ...]
) -> CroppedFaces:
    """Some faces of a frame, with other routes. No track ends with it."""
    faces, quality = cropped.tracked.faces, cropped.quality
    boxes = Faces(faces.boxes[rows], faces.scores[rows], faces.landmarks[rows])
    tracked = TrackedFaces(cropped.tracked.header, boxes, cropped.tracked.track_ids[rows])
    measures = QualityMeasures(
        quality.blur[rows], quality.noise[rows], quality.luma[rows], quality.size_px[rows]
    )
    return CroppedFaces(tracked, cropped.crops[rows], measures, cropped.fused_counts[rows], routes)


def _with_reasons(
    classified: ClassifiedFaces, reasons: dict[int, str], default: ScoredBy
) -> ClassifiedFaces:
    by = list(classified.by or (default,) * len(classified.scores))
    for row, reason in reasons.items():
        by[row] = replace(by[row], reason="; ".join(filter(None, (by[row].reason, reason))))
    return replace(classified, by=tuple(by))
