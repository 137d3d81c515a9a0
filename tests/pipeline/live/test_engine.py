"""How long a command waits for a part that starts."""

from __future__ import annotations

import pytest

from pipeline.errors import ServiceError, StopRequested
from pipeline.live import engine as module
from pipeline.live.engine import Startup


class Slow:
    """Takes so many seconds of its own time to start."""

    def __init__(self, takes_s: float) -> None:
        self.now_s, self._takes_s = 0.0, takes_s

    def monotonic(self) -> float:
        return self.now_s

    def has_started(self, within_s: float) -> bool:
        self.now_s += within_s
        return self.now_s >= self._takes_s


def waited(slow: Slow, startup: Startup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "monotonic", slow.monotonic)
    startup.wait(slow.has_started, "the classifier pool's classifier-fast-0")


def test_a_slow_start_is_no_failure_and_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    waited(Slow(400.0), Startup(start_s=600.0, say=said.append), monkeypatch)
    assert 20 <= len(said) <= 27  # one in fifteen seconds
    assert said[0].startswith(
        "waiting for the classifier pool's classifier-fast-0 to start, for 15 s so far"
    )


def test_the_error_names_the_part_and_how_to_wait_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ServiceError) as caught:
        waited(Slow(400.0), Startup(start_s=300.0), monkeypatch)
    assert str(caught.value) == (
        "the classifier pool's classifier-fast-0 did not start within 300 s: engine: "
        "see what occupies this machine's cores, or raise cluster.start_timeout_s"
    )


def test_a_command_that_is_stopped_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    for takes_s in (0.0, 400.0):
        slow = Slow(takes_s)
        with pytest.raises(StopRequested):
            waited(slow, Startup(stop=lambda: True), monkeypatch)
        assert slow.now_s <= 1.0
