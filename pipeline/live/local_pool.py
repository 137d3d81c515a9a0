"""The classifier pools in this process: one a route, on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pipeline.closing import Service
from pipeline.config import Settings
from pipeline.leaving import leave_at_once
from pipeline.live.pool import ClassifierPool
from pipeline.metrics import Families

if TYPE_CHECKING:
    from pipeline.stages.classify import Classify

NAME = "classifier-"
CLOSE_S = 1.0
"""Seconds that the batch under way may take to end."""


class LocalReply:
    """The reply of a pool of this process."""

    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    def is_ready(self) -> bool:
        """See `pipeline.live.client.Reply`."""
        return self._future.done()

    def result(self, timeout_s: float) -> Any:
        """See `pipeline.live.client.Reply`; raises TimeoutError also when the pool is closed."""
        try:
            return self._future.result(timeout_s)
        except CancelledError as error:
            raise TimeoutError from error

    def cancel(self) -> None:
        """See `pipeline.live.client.Reply`; the batch that it may be in goes on for the others."""
        self._future.cancel()


class LocalPool(Service):
    """Classifies the crops of all cameras of this process, as the actors of all pools do; also the
    transport of their clients, in which a route's one replica is called as the route.

    The routes share the cores of the process: a slow one slows fast down where it computes on them.
    """

    def __init__(
        self, settings: Settings, open_classifier: Callable[[], Classify] | None = None
    ) -> None:
        self._settings = settings
        self._open_classifier = open_classifier or self._open
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started, self._stop = threading.Event(), threading.Event()
        self._error: Exception | None = None
        self._pools: dict[str, ClassifierPool] = {}
        self._names: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._main, name=NAME, daemon=True)

    @property
    def replicas(self) -> dict[str, Sequence[str]]:
        """The names of each route's replicas."""
        return {route: [route] for route in self._settings.emotion.routes.by_name()}

    def start(self) -> None:
        """Start the thread; it loads the weights first."""
        self._thread.start()

    def has_started(self, within_s: float) -> bool:
        """Whether the weights are loaded by then; raises what kept them from loading."""
        is_started = self._started.wait(within_s)
        if self._error:
            raise self._error
        return is_started

    def send(self, replica: str, method: str, *arguments: Any) -> LocalReply:
        """See `pipeline.live.client.Transport`; from any thread."""
        future: Future[Any] = Future()
        if self._loop is None or self._stop.is_set():
            future.set_exception(TimeoutError())
        elif method == "names":
            future.set_result(self._names[replica])
        else:
            call = getattr(self._pools[replica], method)
            future = asyncio.run_coroutine_threadsafe(call(*arguments), self._loop)
        return LocalReply(future)

    def families(self) -> Iterator[tuple[str, Families]]:
        """What was counted so far."""
        for route, pool in list(self._pools.items()):
            yield f"{NAME}{route}-0", pool.metrics.families()

    def close(self) -> None:
        """Finish the batch that runs, and take no more. One that still loads is not waited for."""
        self._stop.set()
        if self._loop and self._thread.is_alive():
            with suppress(RuntimeError):  # the loop has closed in this moment
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            # It still loads, inside a library that Python must not take down under it.
            leave_at_once(lambda: None)

    def _main(self) -> None:
        try:
            classifier = self._open_classifier()
            self._names = {name: each.names() for name, each in classifier.routes.items()}
        except Exception as error:  # noqa: BLE001 - raised to whoever waits for the pool
            self._error = error
            self._started.set()
            return
        self._loop = asyncio.new_event_loop()
        settings = self._settings.emotion.routes.by_name()
        self._pools = {
            route: ClassifierPool(each, settings[route])
            for route, each in classifier.routes.items()
        }
        self._started.set()
        if not self._stop.is_set():
            self._loop.run_forever()
        for pool in self._pools.values():
            pool.close()
        # Each caller must see its end: whoever still waits for an answer is told at once.
        if tasks := asyncio.all_tasks(self._loop):
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.wait(tasks))
        self._loop.close()

    def _open(self) -> Classify:
        # torch, in this thread: the detector loads meanwhile in another.
        from pipeline.stages.classify import open_classify

        return open_classify(self._settings.emotion, every_route=True)
