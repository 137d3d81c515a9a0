"""Ray in this process: started and ended in a thread of its own."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from functools import cache
from typing import Any

import ray
from ray._private import worker as ray_worker
from ray.job_config import JobConfig

ENDINGS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
POLL_S = 0.05
TOKEN = "RAY_AUTH_TOKEN"


@cache
def token() -> str:
    """Of the Ray that this process starts; it stands in environments, and nowhere else."""
    return secrets.token_hex(32)


class RayHostThread(threading.Thread):
    """Calls `ray.init`, and `ray.shutdown` when it is told to.

    What Ray starts inherits the signals that this thread blocks, so a service manager that signals
    all processes at once ends the command alone, which then ends the others in order. And the
    kernel kills Ray's processes together with the thread that started them: it lives on until then.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(name="ray", daemon=True)
        self._options = options
        self._has_started, self._end = threading.Event(), threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        """Start Ray, wait until it is to end, end it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
        try:
            # As of a client's job: else workers would search the driver's current folder first.
            ray.init(job_config=JobConfig(_client_job=True), **self._options)
        except BaseException as error:  # noqa: BLE001 - whoever waits raises it
            self.error = error
        self._has_started.set()
        self._end.wait()
        ray.shutdown()

    def has_started(self, within_s: float) -> bool:
        """Whether `ray.init` has returned, or raised `error`, by then."""
        return self._has_started.wait(within_s)

    def leave(self, within_s: float) -> bool:
        """Disconnect from Ray; whether that was done in time. Ray's own processes, where this
        thread started them, must be killed then: they ignore gentler signals."""
        self._end.set()
        until_s = time.monotonic() + within_s
        while self.is_alive() and hasattr(ray_worker.global_worker, "core_worker"):
            if time.monotonic() > until_s:
                return False
            self.join(POLL_S)
        return True


def set_token() -> None:
    """Put our token where a Ray that is started after this finds it."""
    os.environ[TOKEN] = token()


def unset_token() -> None:
    """Keep the token from the processes that this one starts from now on."""
    os.environ.pop(TOKEN, None)
