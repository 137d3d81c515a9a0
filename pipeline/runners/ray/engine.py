"""Starts Ray on this machine, or joins a cluster, with what must be said before it starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from pipeline.errors import ServiceError

NAMESPACE = "undercam"
LOCAL = "local"
STORE_BYTES = 128 * 1024 * 1024
"""Of shared memory: crops pass through it, never frames."""
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # On loopback nobody else can reach us; with a token a file would appear in the user's home.
    "RAY_AUTH_MODE": "disabled",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Silences a warning about accelerators that we neither set nor read.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "ORT_DISABLE_TELEMETRY": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}
LOCAL_OPTIONS: dict[str, Any] = {
    "_node_ip_address": "127.0.0.1",
    "include_dashboard": False,
    "object_store_memory": STORE_BYTES,
    # A crop is a face: it may lie in memory, and never on a disk.
    "_system_config": {"automatic_object_spilling_enabled": False},
}


@contextmanager
def engine(address: str) -> Iterator[None]:
    """Ray, for as long as the block lasts; one that we started ends with it.

    Raises ServiceError when a cluster cannot be reached.
    """
    local = address == LOCAL
    os.environ.update(ENVIRONMENT if local else {"RAY_USAGE_STATS_ENABLED": "0"})
    try:
        ray.init(
            address=address,
            namespace=NAMESPACE,
            log_to_driver=False,
            logging_level="error",
            **(LOCAL_OPTIONS if local else {}),
        )
    except (ConnectionError, ray.exceptions.RayError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        remedy = f"start it, or set cluster.address = 'local' ({reason})"
        raise ServiceError("no Ray cluster there", address, remedy) from error
    try:
        yield
    finally:
        ray.shutdown()
