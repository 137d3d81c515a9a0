"""The sockets that FFmpeg opens to one camera: shut down, and measured, from another thread."""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread

Endpoint = tuple[str, int]
"""Numeric address and port."""
_BYTES_RECEIVED = 128
"""Where Linux's `struct tcp_info` holds them, a 64-bit number."""


class CameraSockets:
    """The sockets that FFmpeg opens to one camera: those of this process that were not there before
    and belong to `endpoints`, the camera's, or to `port`, our own, to which a camera pushes.

    FFmpeg has no way to be interrupted from another thread. A socket that is shut down ends every
    read at once, and stays FFmpeg's to close. Where two connections to one endpoint open at the
    same moment, each may take the other's socket for its own: shutting one down then makes the
    other connect again.
    """

    def __init__(self, endpoints: frozenset[Endpoint] = frozenset(), port: int = 0) -> None:
        self._endpoints, self._port = endpoints, port
        self._others = set(_sockets().values())
        self._own: dict[int, int] | None = None

    def freeze(self) -> None:
        """The connection is open: no socket that is opened from now on belongs to it."""
        self._own = self._new_sockets()

    def shut_down(self) -> None:
        """End every read; may be called at any time, and again."""
        self._with_own(lambda own: own.shutdown(socket.SHUT_RDWR))

    def received_bytes(self) -> int:
        """Bytes that came over them so far."""
        total = 0

        def add(own: socket.socket) -> None:
            nonlocal total
            info = own.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED + 8)
            total += int.from_bytes(info[_BYTES_RECEIVED:], sys.byteorder)

        self._with_own(add)
        return total

    def _with_own(self, act: Callable[[socket.socket], object]) -> None:
        found = self._new_sockets() if self._own is None else self._own
        for number, inode in found.items():
            with suppress(OSError):
                if os.fstat(number).st_ino == inode:
                    self._borrow(number, act)

    def _borrow(self, number: int, act: Callable[[socket.socket], object]) -> None:
        borrowed = socket.socket(fileno=number)
        try:
            if self._is_own(borrowed):
                act(borrowed)
        finally:
            borrowed.detach()

    def _new_sockets(self) -> dict[int, int]:
        found = _sockets().items()
        return {number: inode for number, inode in found if inode not in self._others}

    def _is_own(self, candidate: socket.socket) -> bool:
        if candidate.family not in (socket.AF_INET, socket.AF_INET6):
            return False
        if self._port:
            return candidate.getsockname()[1] == self._port
        return candidate.getpeername()[:2] in self._endpoints


def _sockets() -> dict[int, int]:
    """The inode of every socket of this process, by its file descriptor."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            status = os.fstat(int(name))
            if stat.S_ISSOCK(status.st_mode):
                found[int(name)] = status.st_ino
    return found


MAX_BYTES = 32 << 20
"""The largest frames of cameras have a few megabytes; an SDP has a few thousand bytes."""
CHECK_S = 0.05


class ByteLimit:
    """Shuts a connection down, from a thread of its own, that received `max_bytes` without one
    packet: FFmpeg would keep all of them in memory. `is_exceeded`: it has done so."""

    def __init__(self, sockets: CameraSockets, max_bytes: int = MAX_BYTES) -> None:
        self.is_exceeded = False
        self._sockets, self._max_bytes = sockets, max_bytes
        self._has_packet = True
        self._ended = Event()
        self._thread = Thread(target=self._watch, name="byte limit", daemon=True)
        self._thread.start()

    def reset(self) -> None:
        """A packet came: count from zero."""
        self._has_packet = True

    def stop(self) -> None:
        """Stop watching."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        at_packet = 0
        while not self._ended.wait(CHECK_S):
            received = self._sockets.received_bytes()
            # Fewer than before: FFmpeg connected anew, as it does after a redirect.
            if self._has_packet or received < at_packet:
                self._has_packet, at_packet = False, received
            elif received - at_packet > self._max_bytes:
                self.is_exceeded = True
                self._sockets.shut_down()
                return
