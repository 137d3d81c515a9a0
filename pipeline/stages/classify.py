"""From crops to scores: the classifiers of each route, and all routes in this process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.crops import Crops
from models.emotions import EMOTIONS
from models.loading import find_weights, load_classifier
from models.onnx_network import OnnxNetwork, takes_onnx
from models.precision import bfloat16_is_supported
from models.scores import EmotionClassifier, EmotionScores
from models.weights import ModelCard
from pipeline.emotion_settings import AUTO, FAST, ROBUST, EmotionSettings, RouteSettings
from pipeline.errors import ModelError
from pipeline.frames import (
    MAX_STATE_BYTES,
    ClassifiedFaces,
    ClassifyReply,
    ClassifyRequest,
    CroppedFaces,
    LateAnswer,
    Route,
    ScoredBy,
    TrackState,
)
from pipeline.stages.requests import (
    TrackStates,
    common_geometry,
    late_answers,
    merge_replies,
    split_by_route,
)


@runtime_checkable
class StatefulClassifier(Protocol):
    """A classifier that carries a state from one observation of a track to its next."""

    def predict_with_state(
        self, crops: Crops, ids: NDArray[np.int64], states: Sequence[bytes]
    ) -> tuple[EmotionScores, Sequence[bytes]]:
        """Score crops (n, 112, 112, 3) uint8 RGB of the tracks `ids` (n,), given the n states that
        it returned for these tracks at an earlier observation; b"": none. Returns n new states of
        at most 1 kB. A state may be missing at any time."""
        ...


class RouteClassifier:
    """The classifiers of one route: that of its weights under the name "", and `others`, such as
    that for degraded images, under the names of theirs.

    `identities` name the weights of each (name and sha256), for the states that they return.
    Raises ModelError for weights whose labels are not the eight expressions.
    """

    def __init__(
        self,
        classifier: EmotionClassifier,
        others: Mapping[str, EmotionClassifier] | None = None,
        identities: Mapping[str, str] | None = None,
    ) -> None:
        self._classifiers = {"": classifier, **(others or {})}
        for each in self._classifiers.values():
            _check_labels(each)
        self._identities = {name: each.card.name for name, each in self._classifiers.items()}
        self._identities.update(identities or {})

    def classify(self, request: ClassifyRequest) -> ClassifyReply:
        """Scores of n crops, each by the weights named for it, and the new states of their tracks
        where a classifier keeps any. A state that other weights made counts as none."""
        crops, ids = request.crops, request.ids
        if not any(request.weights):
            scores, states = self._predict("", crops, ids, request.states)
            return ClassifyReply(scores, states if any(states) else ())
        named = np.array(request.weights, object)
        probabilities = np.empty((len(crops), len(EMOTIONS)), np.float32)
        uncertainty = np.empty(len(crops), np.float32)
        kept: list[TrackState | None] = [None] * len(crops)
        for name in dict.fromkeys(request.weights):
            rows = np.flatnonzero(named == name)
            given = tuple(request.states[row] for row in rows) if request.states else ()
            found, states = self._predict(name, crops[rows], ids[rows], given)
            probabilities[rows], uncertainty[rows] = found.probabilities, found.uncertainty
            for row, state in zip(rows, states, strict=False):
                kept[row] = state
        return ClassifyReply(
            EmotionScores(probabilities, uncertainty), tuple(kept) if any(kept) else ()
        )

    def scored_by(self, route: Route) -> ScoredBy:
        """How a face that was scored on this route stands in the events."""
        classifier = self._classifiers[route.weights]
        card = classifier.card
        return ScoredBy(card.name, classifier.mode, route.reason, card.crop)

    def names(self) -> dict[str, ScoredBy]:
        """How each of the route's weights stands in the events, by its name in the settings."""
        return {name: self.scored_by(Route(weights=name)) for name in self._classifiers}

    def _predict(
        self,
        name: str,
        crops: Crops,
        ids: NDArray[np.int64],
        states: tuple[TrackState | None, ...],
    ) -> tuple[EmotionScores, tuple[TrackState | None, ...]]:
        classifier, identity = self._classifiers[name], self._identities[name]
        if not isinstance(classifier, StatefulClassifier):
            return classifier.predict(crops, ids), ()
        known = [state.data if state and state.weights == identity else b"" for state in states]
        scores, found = classifier.predict_with_state(crops, ids, known or [b""] * len(crops))
        if any(len(data) > MAX_STATE_BYTES for data in found):
            remedy = f"return at most {MAX_STATE_BYTES} bytes a track"
            raise ModelError("a state is too large", identity, remedy)
        return scores, tuple(TrackState(identity, data) if data else None for data in found)


class Classify:
    """All routes in this process: classifies each face by its route, and waits for each.

    The route fast has `classifier` and `others` (see RouteClassifier). Because a late answer of
    robust is computed at once, a recording gives the same records whenever it is analysed.
    """

    def __init__(
        self,
        classifier: EmotionClassifier | RouteClassifier,
        others: Mapping[str, EmotionClassifier] | None = None,
        robust: RouteClassifier | None = None,
    ) -> None:
        fast = (
            classifier
            if isinstance(classifier, RouteClassifier)
            else RouteClassifier(classifier, others)
        )
        self.routes = {FAST: fast} | ({ROBUST: robust} if robust else {})
        default = fast.scored_by(Route())
        self.model, self.mode = default.model, default.mode
        names = [by for each in self.routes.values() for by in each.names().values()]
        self.crop = common_geometry(names)
        self._states = TrackStates()
        self._late: list[LateAnswer] = []

    def wait_for(self, routes: Iterable[str]) -> None:
        """Every route is loaded already."""

    def __call__(self, cropped: CroppedFaces) -> ClassifiedFaces:
        """The scores of a frame's cropped faces, in their order; there may be none."""
        self._states.follow(cropped)
        replies = [
            (routed, self._classify(routed.route, routed.request))
            for routed in split_by_route(cropped, self._states)
        ]
        by = {row: self.scored_by(route) for row, route in enumerate(cropped.routes)}
        return merge_replies(cropped, replies, by)

    @property
    def in_flight(self) -> AbstractSet[int]:
        """No track: every request is answered at once."""
        return frozenset()

    def request(self, cropped: CroppedFaces) -> None:
        """Classify faces of one route now; `late_answers` gives the answers."""
        for routed in split_by_route(cropped, self._states):
            reply = self._classify(routed.route, routed.request)
            self._late += late_answers(cropped, reply.scores)

    def late_answers(self) -> Sequence[LateAnswer]:
        """The answers to the requests since the last call."""
        found, self._late = self._late, []
        return found

    def scored_by(self, route: Route) -> ScoredBy:
        """How a face that took a route stands in the events."""
        return self.routes[route.name].scored_by(route)

    def _classify(self, route: str, request: ClassifyRequest) -> ClassifyReply:
        reply = self.routes[route].classify(request)
        self._states.keep(route, request.ids.tolist(), reply)
        return reply


def _check_labels(classifier: EmotionClassifier) -> None:
    if classifier.card.labels != EMOTIONS:
        raise ModelError(
            f"weights with the labels {', '.join(classifier.card.labels)}",
            classifier.card.name,
            "serving needs the eight expressions; such weights can only be evaluated",
        )


def check_device(route: RouteSettings) -> None:
    """Raise ModelError for a device or a number format that is not available."""
    try:
        device = torch.device(route.device)
    except RuntimeError as error:
        remedy = "set the route's device to cpu, cuda or cuda:N"
        raise ModelError("not a device", route.device, remedy) from error
    if device.type not in ("cpu", "cuda"):
        remedy = "set the route's device to cpu, cuda or cuda:N"
        raise ModelError("not a device", route.device, remedy)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ModelError("no CUDA device", route.device, "set the route's device = 'cpu'")
        if (device.index or 0) >= torch.cuda.device_count():
            remedy = f"this machine has {torch.cuda.device_count()}: lower its number"
            raise ModelError("no such CUDA device", route.device, remedy)
    elif route.dtype == "bfloat16" and not bfloat16_is_supported():
        where = "emotion.routes"
        raise ModelError("bfloat16 ends the process on this processor", where, "set 'float32'")


def open_route(settings: RouteSettings) -> RouteClassifier:
    """The classifiers of a route; raises ModelError for weights that cannot serve, and for a device
    or a number format that is not available."""
    _set_threads(settings)
    return _load_route(settings)


def _load_route(settings: RouteSettings) -> RouteClassifier:
    check_device(settings)

    def load(weights: str) -> EmotionClassifier:
        dtype: torch.dtype = getattr(torch, settings.dtype)
        options = {"flip": settings.flip, "device": settings.device, "draws": settings.draws}
        return load_classifier(weights, partial(_adapt, settings), dtype=dtype, **options)

    degraded = settings.degraded
    others = {degraded: load(degraded)} if degraded else {}
    classifier = load(settings.weights)
    identities = {
        name: _identity_of(name or settings.weights, each)
        for name, each in {"": classifier, **others}.items()
        if isinstance(each, StatefulClassifier)
    }
    return RouteClassifier(classifier, others, identities)


def _adapt(settings: RouteSettings, network: nn.Module, card: ModelCard) -> nn.Module:
    """The network in the library that the route asks for, where that can run it."""
    is_plain = settings.dtype == "float32" and torch.device(settings.device).type == "cpu"
    if settings.runtime != "onnx" or not is_plain or not takes_onnx(card):
        return network
    return OnnxNetwork(network, card, settings.threads)


def open_classify(settings: EmotionSettings, every_route: bool = False) -> Classify:
    """The routes that the mode needs, or every one of the settings, in this process; raises
    ModelError as `open_route` does."""
    fast, robust = settings.routes.fast, settings.routes.robust
    if robust is None or not (every_route or settings.mode in (ROBUST, AUTO)):
        return Classify(open_route(fast))
    _set_threads(fast, robust)
    loaded = _load_route(robust)
    return Classify(_load_route(fast), robust=loaded)


def _set_threads(*routes: RouteSettings) -> None:
    """Set how many threads torch uses in this process: one number, the largest that a route asks
    for. 0, all cores, is what torch uses by itself."""
    wanted = [route.threads for route in routes]
    if all(wanted):
        torch.set_num_threads(max(wanted))


def _identity_of(weights: str, classifier: EmotionClassifier) -> str:
    digest = hashlib.sha256(find_weights(weights).read_bytes()).hexdigest()
    return f"{classifier.card.name}@{digest}"
