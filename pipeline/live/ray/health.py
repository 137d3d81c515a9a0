"""Whether Ray's processes still live: its head (GCS), and its part on this machine (raylet)."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping

import ray

Address = tuple[str, int]
KNOCK_S = 1.0


class RayHealth:
    """Connects to the ports of Ray's parts. A call to an actor proves nothing: actors answer each
    other for a while longer, until one needs a part that is gone."""

    def __init__(
        self,
        parts: Mapping[str, Address],
        patience_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`patience_s`: seconds that a part may be silent before it counts as gone."""
        self._parts, self._patience_s, self._monotonic = dict(parts), patience_s, monotonic
        self._last_answer_s = dict.fromkeys(self._parts, monotonic())

    def find_lost_part(self) -> str:
        """The name of a part that is gone; "" while all are there."""
        now = self._monotonic()
        for name, address in self._parts.items():
            if _opens(address):
                self._last_answer_s[name] = now
            elif now - self._last_answer_s[name] >= self._patience_s:
                return name
        return ""


def parts() -> dict[str, Address]:
    """Of the Ray that this process has joined."""
    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    found = {"its head (gcs_server)": (host.strip("[]"), int(port))}
    here = context.get_node_id()
    for node in ray.nodes():
        if node["NodeID"] == here:
            address = node["NodeManagerAddress"], node["NodeManagerPort"]
            found["its part on this machine (raylet)"] = address
    return found


def _opens(address: Address) -> bool:
    try:
        socket.create_connection(address, timeout=KNOCK_S).close()
    except OSError:
        return False
    return True
