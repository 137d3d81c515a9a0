"""Hangs up on a camera from another thread, which FFmpeg knows no way to do."""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Callable
from contextlib import suppress

Endpoint = tuple[str, int]
"""Numeric address and port."""
_BYTES_RECEIVED = 128
"""Where Linux's `struct tcp_info` holds them, a 64-bit number."""


class Line:
    """The sockets that FFmpeg opens to one camera: those of this process that were not there before
    and belong to `endpoints`, the camera's, or to `port`, our own, at which a camera calls.

    A socket that is shut down ends every read at once, and stays FFmpeg's to close. Where two lines
    to one endpoint open at the same moment, each may take the other's socket for its own: cutting
    one then makes the other connect again.
    """

    def __init__(self, endpoints: frozenset[Endpoint] = frozenset(), port: int = 0) -> None:
        self._endpoints, self._port = endpoints, port
        self._others = set(_sockets().values())
        self._own: dict[int, int] | None = None

    def opened(self) -> None:
        """No socket that comes from now on belongs to the line."""
        self._own = self._new_sockets()

    def cut(self) -> None:
        """Hang up; may be called at any time, and again."""
        self._with_own(lambda own: own.shutdown(socket.SHUT_RDWR))

    def received(self) -> int:
        """Bytes that came over it so far."""
        total = 0

        def add(own: socket.socket) -> None:
            nonlocal total
            told = own.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED + 8)
            total += int.from_bytes(told[_BYTES_RECEIVED:], sys.byteorder)

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
