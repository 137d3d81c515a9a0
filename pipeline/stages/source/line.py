"""Hangs up on a camera from another thread, which FFmpeg knows no way to do."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress

Endpoint = tuple[str, int]
"""Numeric address and port."""


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
        self._own: set[int] | None = None

    def opened(self) -> None:
        """No socket that comes from now on belongs to the line."""
        self._own = set(_sockets().values()) - self._others

    def cut(self) -> None:
        """Hang up; may be called at any time, and again."""
        for number, inode in _sockets().items():
            if inode not in self._others and (self._own is None or inode in self._own):
                with suppress(OSError):
                    self._cut(number)

    def _cut(self, number: int) -> None:
        borrowed = socket.socket(fileno=number)
        try:
            if self._is_own(borrowed):
                borrowed.shutdown(socket.SHUT_RDWR)
        finally:
            borrowed.detach()

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
