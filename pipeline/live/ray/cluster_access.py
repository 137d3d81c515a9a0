"""Checks that a Ray cluster admits us, and nobody without a token."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping

from pipeline.errors import ServiceError
from pipeline.live.engine import Startup
from pipeline.live.ray.host_thread import TOKEN

ADMITTED, REFUSED = 0, 3
PROBE = """
import sys
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
try:
    GcsClient(address=sys.argv[1]).internal_kv_keys(b"", None, timeout=10)
except AuthenticationError:
    sys.exit(3)
"""
POLL_S = 0.05
TOKEN_REMEDY = (
    "set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file of mode 0600, to the cluster's token"
)
OPEN_REMEDY = "start it with RAY_AUTH_MODE=token and RAY_AUTH_TOKEN on every machine"


def check_admission(gcs: str, startup: Startup) -> None:
    """Connect to a cluster's head with our token and without any, each in a process of its own: Ray
    reads its token once in a process, and tries a refused one again for twenty seconds.

    Raises ServiceError where we are refused, or where no token is needed; StopRequested.
    """
    tokenless = {name: value for name, value in os.environ.items() if not name.startswith(TOKEN)}
    probes = [_probe(gcs, env) for env in (os.environ, {**tokenless, "RAY_AUTH_MODE": "disabled"})]

    def have_ended(within_s: float) -> bool:
        until_s = time.monotonic() + within_s
        while any(probe.poll() is None for probe in probes) and time.monotonic() < until_s:
            time.sleep(POLL_S)
        return all(probe.poll() is not None for probe in probes)

    try:
        startup.wait(have_ended, f"Ray at {gcs}")
    finally:
        for probe in probes:
            probe.kill()
            probe.wait()
    ours, tokenless_code = (probe.returncode for probe in probes)
    if ours == REFUSED:
        raise ServiceError("the Ray cluster refuses our token", gcs, TOKEN_REMEDY)
    if tokenless_code == ADMITTED:
        raise ServiceError("the Ray cluster admits everybody", gcs, OPEN_REMEDY)


def _probe(gcs: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    command = [sys.executable, "-P", "-c", PROBE, gcs]
    return subprocess.Popen(command, env=environment, stdin=quiet, stdout=quiet, stderr=quiet)
