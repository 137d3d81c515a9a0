"""`with` starts a service and closes it, also where its start fails half-way."""

from __future__ import annotations

import pytest

from pipeline.closing import Service


class Noting(Service):
    def __init__(self, fails: bool = False) -> None:
        self.calls: list[str] = []
        self._fails = fails

    def start(self) -> None:
        self.calls.append("start")
        if self._fails:
            raise ZeroDivisionError

    def close(self) -> None:
        self.calls.append("close")


def test_it_is_started_and_closed() -> None:
    with Noting() as service:
        assert service.calls == ["start"]
    assert service.calls == ["start", "close"]


def test_one_that_cannot_start_is_closed() -> None:
    service = Noting(fails=True)
    with pytest.raises(ZeroDivisionError), service:
        pytest.fail("it must not start")
    assert service.calls == ["start", "close"]
