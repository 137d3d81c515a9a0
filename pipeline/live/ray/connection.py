"""Starts Ray on this machine, or joins a cluster."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray._private.services import canonicalize_bootstrap_address_or_die

from pipeline.errors import ServiceError
from pipeline.leaving import leave_at_once
from pipeline.live.engine import Startup
from pipeline.live.ray.cluster_access import TOKEN_REMEDY, check_admission
from pipeline.live.ray.environment import LOCAL
from pipeline.live.ray.health import RayHealth, parts
from pipeline.live.ray.host_thread import RayHostThread, set_token, unset_token
from pipeline.live.ray.session import Session

LOOPBACK = "127.0.0.1"
AUTO, CLIENT = "auto", "ray://"
KNOCK_S = 5.0
ALONE_GONE_S, LEAVE_S, BREAK_OFF_S = 0.5, 1.5, 3.0
"""Seconds after which a part of our own Ray counts as dead, since none comes back; in which Ray may
disconnect; and in which it may still start, after the command was stopped."""
STORE_BYTES = 128 * 1024 * 1024
"""Of shared memory: crops pass through it, never frames."""
LOCAL_OPTIONS: dict[str, Any] = {
    "_node_ip_address": LOOPBACK,
    "include_dashboard": False,
    "object_store_memory": STORE_BYTES,
}
SYSTEM_CONFIG: dict[str, Any] = {
    # A crop is a face: it may lie in memory, and never on a disk.
    "automatic_object_spilling_enabled": False,
}
MEMORY = Path("/dev/shm")
"""Memory as a folder, on Linux: Ray makes files here when its store is full, and not on a disk."""
if MEMORY.is_dir():
    LOCAL_OPTIONS["object_spilling_directory"] = str(MEMORY)


@contextmanager
def connect_ray(
    address: str,
    namespace: str = "undercam",
    startup: Startup | None = None,
    lost_timeout_s: float = ALONE_GONE_S,
) -> Iterator[RayHealth]:
    """Ray, for as long as the block lasts; one that we started ends with it. Actors' names are
    known within `namespace`. Yields the health of Ray's parts; a part of a cluster may be silent
    for `lost_timeout_s`.

    Raises ServiceError when a cluster cannot be reached, when it or a local Ray would be open to
    others, or does not start in time; StopRequested.
    """
    options: dict[str, Any] = {
        "address": address,
        "namespace": namespace,
        "log_to_driver": False,
        "logging_level": "critical",  # it logs every part that a signal ended
    }
    startup = startup or Startup()
    if address == LOCAL:
        with _start_local(options, startup) as health:
            yield health
    else:
        with _join_cluster(address, options, startup, lost_timeout_s) as health:
            yield health


@contextmanager
def _start_local(options: dict[str, Any], startup: Startup) -> Iterator[RayHealth]:
    session = Session()
    set_token()
    start_s = round(startup.start_s)
    os.environ.update({"RAY_gcs_server_port_wait_time_s": str(start_s)})
    system = {**SYSTEM_CONFIG, "worker_register_timeout_seconds": start_s}
    ours = {"_temp_dir": str(session.folder / "ray"), "_system_config": system}
    host = RayHostThread({**options, **LOCAL_OPTIONS, **ours})
    host.start()
    health = None
    try:
        _wait_for_ray(host, startup, LOCAL)
        if any(node["NodeManagerAddress"] != LOOPBACK for node in ray.nodes()):
            remedy = "start again with RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 in the environment"
            raise ServiceError("Ray would listen to the network", "cluster.address", remedy)
        health = RayHealth(parts(), ALONE_GONE_S)
        yield health
    finally:
        unset_token()
        has_left = _leave_ray(host, health)
        if has_left:
            session.kill()  # Ray would wait a second for each of its processes
            host.join(LEAVE_S)
        if has_left and not host.is_alive():
            session.remove()
        else:
            leave_at_once(session.remove)


@contextmanager
def _join_cluster(
    address: str, options: dict[str, Any], startup: Startup, lost_timeout_s: float
) -> Iterator[RayHealth]:
    try:
        if address == AUTO:
            address = canonicalize_bootstrap_address_or_die(address)
        _knock(address)
    except OSError as error:
        raise _unreachable(address, error) from error
    if not address.startswith(CLIENT):
        check_admission(address, startup)
    host = RayHostThread({**options, "address": address})
    host.start()
    health = None
    try:
        _wait_for_ray(host, startup, address)
        health = RayHealth(parts(), lost_timeout_s)
        yield health
    finally:
        if not _leave_ray(host, health):
            leave_at_once(lambda: None)


def _wait_for_ray(host: RayHostThread, startup: Startup, address: str) -> None:
    what = "Ray" if address == LOCAL else f"Ray at {address}"
    startup.wait(host.has_started, what)
    match host.error:
        case None:
            return
        case ray.exceptions.AuthenticationError() as error:
            missing = "no authentication token" in str(error)
            fault = "needs a token" if missing else "refuses our token"
            raise ServiceError(f"the Ray cluster {fault}", address, TOKEN_REMEDY) from error
        case error:
            raise _unreachable(address, error) from error


def _unreachable(address: str, error: BaseException) -> ServiceError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if address == LOCAL:
        return ServiceError("Ray does not start", address, f"see `undercam doctor` ({reason})")
    remedy = f"start it, or set cluster.address = 'local' ({reason})"
    return ServiceError("no Ray cluster there", address, remedy)


def _leave_ray(host: RayHostThread, health: RayHealth | None) -> bool:
    """Disconnect; false where Ray cannot: without its parts, or half started, `ray.shutdown` waits
    for a minute, or aborts the process."""
    if not host.has_started(BREAK_OFF_S) or (health and health.find_lost_part()):
        return False
    return host.leave(LEAVE_S)


def _knock(address: str) -> None:
    """Raise OSError where nothing listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix(CLIENT).rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=KNOCK_S).close()
