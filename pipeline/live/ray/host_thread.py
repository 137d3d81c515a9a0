"""Ray in this process: begun and ended in a thread of its own."""

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
LOOK_S = 0.05
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
        self._begun, self._end = threading.Event(), threading.Event()
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Begin, wait, end."""
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
        try:
            # As of a client's job: else workers would search the driver's current folder first.
            ray.init(job_config=JobConfig(_client_job=True), **self._options)
        except BaseException as error:  # noqa: BLE001 - whoever waits raises it
            self.error = error
        self._begun.set()
        self._end.wait()
        ray.shutdown()

    def has_begun(self, within_s: float) -> bool:
        """Whether `ray.init` has returned, or raised `error`, by then."""
        return self._begun.wait(within_s)

    def let_go(self, within_s: float) -> bool:
        """Leave Ray; whether this process has let go of it in time. Ray's own processes, where it
        started them, then wait to be killed: they heed no gentler signal."""
        self._end.set()
        until_s = time.monotonic() + within_s
        while self.is_alive() and hasattr(ray_worker.global_worker, "core_worker"):
            if time.monotonic() > until_s:
                return False
            self.join(LOOK_S)
        return True


def give_token() -> None:
    """Put our token where Ray, begun after this, finds it."""
    os.environ[TOKEN] = token()


def take_token() -> None:
    """Whatever this process starts from now on is not Ray's."""
    os.environ.pop(TOKEN, None)
