"""A camera's way to the classifier pools: the policy, whatever carries the requests.

One pool a route, one or more replicas a pool. The transport is a port: Ray's is in
`pipeline.live.ray.client`.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pipeline.emotion_settings import FAST, RouteSettings
from pipeline.errors import PoolFull, ServiceError
from pipeline.frames import (
    ClassifiedFaces,
    ClassifyReply,
    CroppedFaces,
    LateAnswer,
    ScoredBy,
)
from pipeline.metrics import CameraMetrics
from pipeline.stages.requests import (
    RoutedRequest,
    TrackStates,
    common_geometry,
    late_answers,
    merge_replies,
    split_by_route,
)

RETRY_S = 0.05
"""Between two attempts to reach a replica."""


class Reply(Protocol):
    """The reply to a call that is under way."""

    def is_ready(self) -> bool:
        """Whether `result` would return or raise at once."""
        ...

    def result(self, timeout_s: float) -> Any:
        """Wait for the reply. Raises TimeoutError; ServiceError where the replica has died;
        PoolFull where it takes no more; and what else the call raised."""
        ...

    def cancel(self) -> None:
        """Nobody waits for the reply any more: what has not begun need not be computed."""
        ...


class Transport(Protocol):
    """Carries calls to the replicas of pools."""

    def send(self, replica: str, method: str, *arguments: Any) -> Reply:
        """Call a method of ClassifierPool and do not wait; raises ServiceError where no replica of
        that name is known."""
        ...


@dataclass
class _Call:
    """A call that may be sent again, to another replica, until its time is up."""

    route: str
    method: str
    arguments: tuple[Any, ...]
    timeout_s: float
    until_s: float
    reply: Reply | None = None
    fault: str = ""


@dataclass(frozen=True)
class _Later:
    """A request that nobody waits for."""

    cropped: CroppedFaces
    routed: RoutedRequest
    call: _Call


class ClassifierClient:
    """Asks one replica of a face's route, and the next one where that has died or is full.

    On a live camera, a face that is not answered in the route's `timeout_s` is labelled unknown,
    with the reason, and counted. A `patient` camera, such as a file, waits for up to `start_s`
    instead, and for late answers too, so that nothing of it is lost and it gives the same records
    each time. A pool that starts loads its weights first, and may take `start_s` for it.
    """

    def __init__(
        self,
        transport: Transport,
        replicas: Mapping[str, Sequence[str]],
        routes: Mapping[str, RouteSettings],
        camera: str,
        patient: bool,
        metrics: CameraMetrics,
        start_s: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`replicas` are the names of each route's replicas."""
        self._transport, self._replicas, self._routes = transport, replicas, routes
        self._patient, self._start_s = patient, start_s
        self._monotonic, self._sleep = monotonic, sleep
        # Cameras begin at different replicas.
        self._turn = dict.fromkeys(replicas, zlib.crc32(camera.encode()))
        self._names: dict[str, dict[str, ScoredBy]] = {}
        self._states = TrackStates()
        self._later: list[_Later] = []
        self._robust_requestss = metrics.stage_seconds.labels("classify")
        self._unanswered = metrics.unanswered.labels(camera)
        self._robust_requests = {
            outcome: metrics.robust_requests.labels(camera, outcome)
            for outcome in ("answered", "refused", "timeout")
        }

    @property
    def model(self) -> str:
        """The name of the weights of the route fast, as it stands in the events."""
        return self._names_of(FAST)[""].model

    @property
    def mode(self) -> str:
        """How the network of the route fast is run."""
        return self._names_of(FAST)[""].mode

    @property
    def crop(self) -> str:
        """The geometry of the crops that the routes take; raises ModelError where those of two
        routes, of fast and those waited for, differ."""
        self._names_of(FAST)
        return common_geometry(by for names in self._names.values() for by in names.values())

    def wait_for(self, routes: Iterable[str]) -> None:
        """Wait until a replica of each route has loaded its weights, for up to `start_s` each;
        raises ServiceError."""
        for route in routes:
            self._names_of(route)

    def __call__(self, cropped: CroppedFaces) -> ClassifiedFaces:
        """The scores of a frame's cropped faces, in their order; there may be none.

        Raises ServiceError where a patient camera gets no answer.
        """
        self._states.follow(cropped)
        if not len(cropped.crops):
            return merge_replies(cropped, [], {})
        routed = split_by_route(cropped, self._states)
        by = {
            row: replace(self._names_of(route.name)[route.weights], reason=route.reason)
            for row, route in enumerate(cropped.routes)
        }
        replies: list[tuple[RoutedRequest, ClassifyReply | None]] = []
        with self._robust_requestss.time():
            # All requests are sent before the first reply is waited for.
            calls = [self._start(one) for one in routed]
            for one, call in zip(routed, calls, strict=True):
                try:
                    reply: ClassifyReply = self._wait(call)
                except ServiceError as error:
                    if self._patient:
                        raise
                    by = self._without_answer(by, one, len(cropped.crops), error.what)
                    replies.append((one, None))
                else:
                    self._states.keep(one.route, one.request.ids.tolist(), reply)
                    replies.append((one, reply))
        return merge_replies(cropped, replies, by)

    @property
    def in_flight(self) -> AbstractSet[int]:
        """The tracks with a request whose answer has not been taken yet."""
        return {track for later in self._later for track in later.routed.request.ids.tolist()}

    def request(self, cropped: CroppedFaces) -> None:
        """Send faces to their route, and do not wait: `late_answers` gives the answers."""
        for routed in split_by_route(cropped, self._states):
            self._later.append(_Later(cropped, routed, self._start(routed)))

    def late_answers(self) -> Sequence[LateAnswer]:
        """The answers to requests that have arrived since the last call, of tracks that have not
        ended; of a patient camera, of all requests. One that a live camera's pool refuses, or does
        not give in time, is counted and not asked for again."""
        found: list[LateAnswer] = []
        waiting, self._later = self._later, []
        for later in waiting:
            is_over = self._monotonic() >= later.call.until_s
            if self._patient:
                found += self._take(later, self._wait(later.call))
            elif later.call.reply is None or later.call.reply.is_ready():
                found += self._try_to_take(later)
            elif is_over:
                later.call.reply.cancel()
                self._robust_requests["timeout"].inc()
            else:
                self._later.append(later)
        return [answer for answer in found if self._states.is_alive(answer.track)]

    def _try_to_take(self, later: _Later) -> Sequence[LateAnswer]:
        try:
            if later.call.reply is None:
                raise ServiceError(later.call.fault, later.call.route, "wait")
            return self._take(later, later.call.reply.result(0.0))
        except (ServiceError, PoolFull, TimeoutError):
            self._robust_requests["refused"].inc()
            return ()

    def _take(self, later: _Later, reply: ClassifyReply) -> Sequence[LateAnswer]:
        self._robust_requests["answered"].inc()
        self._states.keep(later.routed.route, later.routed.request.ids.tolist(), reply)
        return late_answers(later.cropped, reply.scores)

    def _without_answer(
        self, by: Mapping[int, ScoredBy], routed: RoutedRequest, n: int, reason: str
    ) -> dict[int, ScoredBy]:
        self._unanswered.inc(len(routed.rows))
        default = ScoredBy(self.model, self.mode)
        named = {row: by.get(row, default) for row in range(n)}
        return named | {row: replace(named[row], reason=reason) for row in routed.rows.tolist()}

    def _names_of(self, route: str) -> dict[str, ScoredBy]:
        """How the weights of a route stand in the events, by their names in the settings."""
        if route not in self._names:
            until_s = self._monotonic() + self._start_s
            self._names[route] = self._wait(_Call(route, "names", (), self._start_s, until_s))
        return self._names[route]

    def _start(self, routed: RoutedRequest) -> _Call:
        patience_s = self._start_s if self._patient else self._routes[routed.route].timeout_s
        until_s = self._monotonic() + patience_s
        call = _Call(routed.route, "classify", (routed.request,), patience_s, until_s)
        self._send(call)
        return call

    def _send(self, call: _Call) -> None:
        replicas = self._replicas[call.route]
        replica = replicas[self._turn[call.route] % len(replicas)]
        try:
            call.reply = self._transport.send(replica, call.method, *call.arguments)
        except ServiceError as error:
            call.reply = None
            self._blame(call, error)

    def _blame(self, call: _Call, error: Exception) -> None:
        """The next attempt is at the next replica."""
        is_full = isinstance(error, PoolFull)
        call.fault = "the pool is full" if is_full else "its replica has died"
        self._turn[call.route] += 1

    def _wait(self, call: _Call) -> Any:
        """The reply, from whichever replica gives it first; raises ServiceError when none does in
        the call's time."""
        while (left_s := call.until_s - self._monotonic()) > 0:
            if call.reply is None:
                self._send(call)
            if call.reply is not None:
                try:
                    return call.reply.result(left_s)
                except TimeoutError:
                    call.reply.cancel()
                    break
                except (ServiceError, PoolFull) as error:
                    call.reply = None
                    self._blame(call, error)
            self._sleep(min(RETRY_S, left_s))
        fault = f" ({call.fault})" if call.fault else ""
        raise ServiceError(
            f"no answer from the classifier pool in {call.timeout_s:g} s{fault}",
            f"route {call.route}",
            f"increase emotion.routes.{call.route}.replicas, or see `undercam doctor`",
        )
