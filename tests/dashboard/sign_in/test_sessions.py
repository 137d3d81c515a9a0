"""Sessions end by time, by sign-out and with their user; attempts slow down."""

from __future__ import annotations

import pytest

from dashboard.sign_in import sessions
from dashboard.sign_in.sessions import Attempts, Sessions
from dashboard.sign_in.users import User

ANNA = User("anna", "viewer")


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_session_ends_by_time() -> None:
    clock = Clock()
    kept = Sessions(60, clock)
    token = kept.open(lambda: ANNA)
    assert kept.find(token) == ANNA
    clock.now_s += 59.9
    assert kept.find(token) == ANNA
    clock.now_s += 0.2
    assert kept.find(token) is None


def test_a_token_that_nobody_gave() -> None:
    kept = Sessions(60)
    token = kept.open(lambda: ANNA)
    for forged in ("", "x", token[:-1], token + "x", token.swapcase(), "\udcff"):
        assert kept.find(forged) is None


def test_signing_out_and_a_user_who_is_gone() -> None:
    users: list[User | None] = [ANNA]
    kept = Sessions(60)
    first, second = kept.open(lambda: users[0]), kept.open(lambda: users[0])
    assert first != second
    kept.close(first)
    kept.close("unknown")
    assert kept.find(first) is None
    assert kept.find(second) == ANNA
    users[0] = User("anna", "admin")
    assert kept.find(second) == User("anna", "admin")
    users[0] = None
    assert kept.find(second) is None


def test_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 3)
    kept = Sessions(60)
    tokens = [kept.open(lambda: ANNA) for _ in range(5)]
    assert [kept.find(token) is not None for token in tokens] == [False, False, True, True, True]


def test_attempts_slow_down() -> None:
    clock = Clock()
    attempts = Attempts(clock)
    waits = []
    for _ in range(13):
        waits.append(attempts.wait_s("name anna", "address 10.0.0.7"))
        clock.now_s += waits[-1]
        attempts.add("name anna", "address 10.0.0.7")
    assert waits == [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert attempts.wait_s("name bert", "address 10.0.0.7") == 60
    assert attempts.wait_s("name anna", "address 10.0.0.8") == 60
    assert attempts.wait_s("name bert", "address 10.0.0.8") == 0
    attempts.forget("name anna")
    assert attempts.wait_s("name anna") == 0
    clock.now_s += sessions.FORGET_S
    assert attempts.wait_s("address 10.0.0.7") == 0


def test_attempts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_KEYS", 10)
    attempts = Attempts()
    for number in range(100):
        attempts.add(f"name {number}")
    assert len(attempts._failures) == 10
