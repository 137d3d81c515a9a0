"""Whom a Ray cluster lets in: us, and nobody who has no token."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping

from pipeline.errors import ServiceError
from pipeline.live.ray.host_thread import TOKEN
from pipeline.live.ray.startup import Startup

LET_IN, REFUSED = 0, 3
KNOCK = """
import sys
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
try:
    GcsClient(address=sys.argv[1]).internal_kv_keys(b"", None, timeout=10)
except AuthenticationError:
    sys.exit(3)
"""
LOOK_S = 0.05
TOKEN_REMEDY = (
    "set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file of mode 0600, to the cluster's token"
)
OPEN_REMEDY = "start it with RAY_AUTH_MODE=token and RAY_AUTH_TOKEN on every machine"


def check_admission(gcs: str, beginning: Startup) -> None:
    """Knock at a cluster's head as ourselves and as nobody, each in a process of its own: Ray
    decides once in a process who it is, and tries a refused token again for twenty seconds.

    Raises ServiceError where we are refused or everybody is let in; StopRequested.
    """
    nobody = {name: value for name, value in os.environ.items() if not name.startswith(TOKEN)}
    knocks = [_knock(gcs, env) for env in (os.environ, {**nobody, "RAY_AUTH_MODE": "disabled"})]

    def have_ended(within_s: float) -> bool:
        until_s = time.monotonic() + within_s
        while any(knock.poll() is None for knock in knocks) and time.monotonic() < until_s:
            time.sleep(LOOK_S)
        return all(knock.poll() is not None for knock in knocks)

    try:
        beginning.until(have_ended, f"Ray at {gcs}")
    finally:
        for knock in knocks:
            knock.kill()
            knock.wait()
    ours, anybodys = (knock.returncode for knock in knocks)
    if ours == REFUSED:
        raise ServiceError("the Ray cluster refuses our token", gcs, TOKEN_REMEDY)
    if anybodys == LET_IN:
        raise ServiceError("the Ray cluster lets in everybody", gcs, OPEN_REMEDY)


def _knock(gcs: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    command = [sys.executable, "-P", "-c", KNOCK, gcs]
    return subprocess.Popen(command, env=environment, stdin=quiet, stdout=quiet, stderr=quiet)
