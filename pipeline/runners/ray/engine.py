"""Starts Ray on this machine, or joins a cluster."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from pipeline.errors import ServiceError
from pipeline.runners.ray.environment import LOCAL

LOOPBACK = "127.0.0.1"
KNOCK_S = 5.0
STORE_BYTES = 128 * 1024 * 1024
"""Of shared memory: crops pass through it, never frames."""
LOCAL_OPTIONS: dict[str, Any] = {
    "_node_ip_address": LOOPBACK,
    "include_dashboard": False,
    "object_store_memory": STORE_BYTES,
    # A crop is a face: it may lie in memory, and never on a disk.
    "_system_config": {"automatic_object_spilling_enabled": False},
}
MEMORY = Path("/dev/shm")
"""Where Linux has it: when its store is full, Ray makes files here, and not among its logs."""
if MEMORY.is_dir():
    LOCAL_OPTIONS["object_spilling_directory"] = str(MEMORY)


@contextmanager
def engine(address: str, namespace: str = "undercam") -> Iterator[None]:
    """Ray, for as long as the block lasts; one that we started ends with it. Actors' names are
    known within `namespace`.

    Raises ServiceError when a cluster cannot be reached, or a local Ray would be open to others.
    """
    local = address == LOCAL
    try:
        _knock(address)
        ray.init(
            address=address,
            namespace=namespace,
            log_to_driver=False,
            logging_level="error",
            **(LOCAL_OPTIONS if local else {}),
        )
    except (OSError, ray.exceptions.RayError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        remedy = f"start it, or set cluster.address = 'local' ({reason})"
        raise ServiceError("no Ray cluster there", address, remedy) from error
    try:
        if local and any(node["NodeManagerAddress"] != LOOPBACK for node in ray.nodes()):
            remedy = "start again with RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 in the environment"
            raise ServiceError("Ray would listen to the network", "cluster.address", remedy)
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Ray itself tries for minutes before it says that nobody is there; raises OSError."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=KNOCK_S).close()
