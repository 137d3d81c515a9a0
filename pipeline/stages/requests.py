"""From cropped faces to one request per route, and from the replies to classified faces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.emotions import EMOTIONS
from models.scores import EmotionScores
from pipeline.errors import ModelError
from pipeline.frames import (
    ClassifiedFaces,
    ClassifyReply,
    ClassifyRequest,
    CroppedFaces,
    LateAnswer,
    Route,
    ScoredBy,
    TrackState,
)

DEFAULT_ROUTE = Route()


class TrackStates:
    """The state of each track for each route. A track that has ended has none, and gets none when
    its last reply arrives late."""

    def __init__(self) -> None:
        self._states: dict[tuple[str, int], TrackState] = {}
        self._alive: set[int] = set()

    def follow(self, cropped: CroppedFaces) -> None:
        """Take note of the tracks of a frame, and forget those that have ended."""
        self._alive.update(cropped.tracked.track_ids.tolist())
        self._alive.difference_update(cropped.tracked.ended)
        for key in [key for key in self._states if key[1] not in self._alive]:
            del self._states[key]

    def is_alive(self, track: int) -> bool:
        """Whether the track has been seen and has not ended."""
        return track in self._alive

    def of(self, route: str, tracks: Iterable[int]) -> tuple[TrackState | None, ...]:
        """The states of tracks, () where none has any."""
        found = tuple(self._states.get((route, track)) for track in tracks)
        return found if any(found) else ()

    def keep(self, route: str, tracks: Iterable[int], reply: ClassifyReply) -> None:
        """Take the new states of a reply; where it has none, the old ones are forgotten: they are
        no longer those of the track's last observation."""
        ids = list(tracks)
        for track, state in zip(ids, reply.states or (None,) * len(ids), strict=True):
            self._states.pop((route, track), None)
            if state is not None and self.is_alive(track):
                self._states[route, track] = state


@dataclass(frozen=True)
class RoutedRequest:
    """The request for the faces of a frame that take one route, and their rows in the frame."""

    route: str
    rows: NDArray[np.int64]
    request: ClassifyRequest


def split_by_route(cropped: CroppedFaces, states: TrackStates) -> list[RoutedRequest]:
    """One request for each route that a face of the frame takes; none for a frame without faces."""
    routes = cropped.routes or (DEFAULT_ROUTE,) * len(cropped.crops)
    ids = cropped.tracked.track_ids
    requests = []
    for name in dict.fromkeys(route.name for route in routes):
        rows = np.array([row for row, route in enumerate(routes) if route.name == name], np.int64)
        weights = tuple(routes[row].weights for row in rows) if cropped.routes else ()
        kept = states.of(name, ids[rows].tolist())
        request = ClassifyRequest(cropped.crops[rows], ids[rows], weights, kept)
        requests.append(RoutedRequest(name, rows, request))
    return requests


def common_geometry(weights: Iterable[ScoredBy]) -> str:
    """The geometry of the crops that all these weights take; raises ModelError where two differ: a
    face is cropped once for whichever route it takes."""
    first, *others = weights
    for other in others:
        if other.crop != first.crop:
            raise ModelError(
                f"{first.model} takes crops of {first.crop!r}, {other.model} of {other.crop!r}",
                "emotion.routes",
                "give all routes weights of one geometry",
            )
    return first.crop


def merge_replies(
    cropped: CroppedFaces,
    replies: Iterable[tuple[RoutedRequest, ClassifyReply | None]],
    by: Mapping[int, ScoredBy],
) -> ClassifiedFaces:
    """The classified faces of a frame, in the order of its faces. A request with the reply None
    was not answered; `by` names the classifier of each row, {} where it is route fast with
    its own weights for all."""
    n = len(cropped.crops)
    probabilities = np.full((n, len(EMOTIONS)), 1 / len(EMOTIONS), np.float32)
    uncertainty, answered = np.ones(n, np.float32), np.zeros(n, bool)
    for routed, reply in replies:
        if reply is not None:
            probabilities[routed.rows] = reply.scores.probabilities
            uncertainty[routed.rows] = reply.scores.uncertainty
            answered[routed.rows] = True
    names = tuple(by[row] for row in range(n)) if by else ()
    scores = EmotionScores(probabilities, uncertainty)
    return ClassifiedFaces(cropped.tracked, scores, cropped.quality, answered, names)


def late_answers(cropped: CroppedFaces, scores: EmotionScores) -> list[LateAnswer]:
    """The answers for all faces of an earlier frame, each at the media time of that frame."""
    weights = cropped.quality.weights(cropped.tracked.faces.scores)
    pts_s = cropped.tracked.header.pts_s
    return [
        LateAnswer(track, pts_s, scores.probabilities[row], float(weights[row]))
        for row, track in enumerate(cropped.tracked.track_ids.tolist())
    ]
