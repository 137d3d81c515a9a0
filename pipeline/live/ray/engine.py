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
from pipeline.live.ray.cluster_access import TOKEN_REMEDY, check_admission
from pipeline.live.ray.environment import LOCAL
from pipeline.live.ray.health import RayHealth, parts
from pipeline.live.ray.host_thread import RayHostThread, give_token, take_token
from pipeline.live.ray.session import Session
from pipeline.live.ray.startup import Startup

LOOPBACK = "127.0.0.1"
AUTO, CLIENT = "auto", "ray://"
KNOCK_S = 5.0
ALONE_GONE_S, LEAVE_S, BREAK_OFF_S = 0.5, 1.5, 3.0
"""A part of our own Ray that died does not come back; Ray may take so long to let go of us; and to
begin, after somebody wanted it to end."""
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
"""Where Linux has it: when its store is full, Ray makes files here, and not among its logs."""
if MEMORY.is_dir():
    LOCAL_OPTIONS["object_spilling_directory"] = str(MEMORY)


@contextmanager
def engine(
    address: str,
    namespace: str = "undercam",
    beginning: Startup | None = None,
    lost_timeout_s: float = ALONE_GONE_S,
) -> Iterator[RayHealth]:
    """Ray, for as long as the block lasts; one that we started ends with it. Actors' names are
    known within `namespace`. Gives what tells whether Ray still lives; of a cluster a part may be
    silent for `lost_timeout_s`.

    Raises ServiceError when a cluster cannot be reached, when it or a local Ray would be open to
    others, or does not begin in time; StopRequested.
    """
    options: dict[str, Any] = {
        "address": address,
        "namespace": namespace,
        "log_to_driver": False,
        "logging_level": "critical",  # what it says of parts that a signal ended is no news
    }
    begin = beginning or Startup()
    if address == LOCAL:
        with _alone(options, begin) as vitals:
            yield vitals
    else:
        with _joined(address, options, begin, lost_timeout_s) as vitals:
            yield vitals


@contextmanager
def _alone(options: dict[str, Any], beginning: Startup) -> Iterator[RayHealth]:
    session = Session()
    give_token()
    start_s = round(beginning.start_s)
    os.environ.update({"RAY_gcs_server_port_wait_time_s": str(start_s)})
    system = {**SYSTEM_CONFIG, "worker_register_timeout_seconds": start_s}
    ours = {"_temp_dir": str(session.folder / "ray"), "_system_config": system}
    host = RayHostThread({**options, **LOCAL_OPTIONS, **ours})
    vitals = None
    try:
        _begin(host, beginning, LOCAL)
        if any(node["NodeManagerAddress"] != LOOPBACK for node in ray.nodes()):
            remedy = "start again with RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 in the environment"
            raise ServiceError("Ray would listen to the network", "cluster.address", remedy)
        vitals = RayHealth(parts(), ALONE_GONE_S)
        yield vitals
    finally:
        take_token()
        let_go = _lets_go(host, vitals)
        if let_go:
            session.kill()  # Ray would wait a second for each of its processes
            host.join(LEAVE_S)
        if let_go and not host.is_alive():
            session.remove()
        else:
            leave_at_once(session.remove)


@contextmanager
def _joined(
    address: str, options: dict[str, Any], beginning: Startup, lost_timeout_s: float
) -> Iterator[RayHealth]:
    try:
        if address == AUTO:
            address = canonicalize_bootstrap_address_or_die(address)
        _knock(address)
    except OSError as error:
        raise _not_there(address, error) from error
    if not address.startswith(CLIENT):
        check_admission(address, beginning)
    host = RayHostThread({**options, "address": address})
    vitals = None
    try:
        _begin(host, beginning, address)
        vitals = RayHealth(parts(), lost_timeout_s)
        yield vitals
    finally:
        if not _lets_go(host, vitals):
            leave_at_once(lambda: None)


def _begin(host: RayHostThread, beginning: Startup, address: str) -> None:
    what = "Ray" if address == LOCAL else f"Ray at {address}"
    beginning.until(host.has_begun, what)
    match host.error:
        case None:
            return
        case ray.exceptions.AuthenticationError() as error:
            missing = "no authentication token" in str(error)
            fault = "needs a token" if missing else "refuses our token"
            raise ServiceError(f"the Ray cluster {fault}", address, TOKEN_REMEDY) from error
        case error:
            raise _not_there(address, error) from error


def _not_there(address: str, error: BaseException) -> ServiceError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if address == LOCAL:
        return ServiceError("Ray does not start", address, f"see `undercam doctor` ({reason})")
    remedy = f"start it, or set cluster.address = 'local' ({reason})"
    return ServiceError("no Ray cluster there", address, remedy)


def _lets_go(host: RayHostThread, vitals: RayHealth | None) -> bool:
    """Without its parts, or half begun, Ray would hold us up for a minute, or end us badly."""
    if not host.has_begun(BREAK_OFF_S) or (vitals and vitals.gone()):
        return False
    return host.let_go(LEAVE_S)


def _knock(address: str) -> None:
    """Ray itself tries for minutes before it says that nobody is there; raises OSError."""
    host, _, port = address.removeprefix(CLIENT).rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=KNOCK_S).close()
