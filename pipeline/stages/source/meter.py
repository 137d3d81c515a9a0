"""Hangs up on whoever sends without end and without one packet: FFmpeg would keep all of it."""

from __future__ import annotations

from threading import Event, Thread

from pipeline.stages.source.line import Line

MOST_BYTES = 32 << 20
"""The largest pictures of cameras have a few megabytes; an SDP has a few thousand bytes."""
LOOK_S = 0.05


class Meter:
    """Watches a line from a thread of its own. `is_over`: it has hung up."""

    def __init__(self, line: Line, most_bytes: int = MOST_BYTES) -> None:
        self.is_over = False
        self._line, self._most_bytes = line, most_bytes
        self._has_packet = True
        self._ended = Event()
        self._thread = Thread(target=self._watch, name="meter", daemon=True)
        self._thread.start()

    def packet(self) -> None:
        """A packet came: what came so far was not in vain."""
        self._has_packet = True

    def stop(self) -> None:
        """Watch no longer."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        at_packet = 0
        while not self._ended.wait(LOOK_S):
            received = self._line.received()
            # Fewer: FFmpeg called again, as it does after a redirect.
            if self._has_packet or received < at_packet:
                self._has_packet, at_packet = False, received
            elif received - at_packet > self._most_bytes:
                self.is_over = True
                self._line.cut()
                return
