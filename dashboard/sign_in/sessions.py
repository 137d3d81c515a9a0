"""Who is signed in, and how often somebody may try.

Sessions are kept in this process: a cookie is a random token, and means nothing elsewhere or after
a restart. So there is no key that could be stolen, and signing out really ends a session.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from dashboard.sign_in.users import User

MAX_SESSIONS = 10_000
MAX_KEYS = 10_000
FREE_ATTEMPTS = 5
FORGET_S = 900.0
"""Failed attempts are forgotten after this time without another."""
LONGEST_WAIT_S = 60.0
Clock = Callable[[], float]


@dataclass(frozen=True)
class _Session:
    expires_s: float
    find_user: Callable[[], User | None]


class Sessions:
    """Tokens of users who are signed in, each valid for `lifetime_s`."""

    def __init__(self, lifetime_s: float, clock: Clock = time.time) -> None:
        self._lifetime_s, self._clock = lifetime_s, clock
        self._sessions: dict[bytes, _Session] = {}

    def open(self, find_user: Callable[[], User | None]) -> str:
        """The token of a new session. `find_user` returns its user, or None once there is none: it
        is called at each request, so a change of the role counts at once."""
        now_s = self._clock()
        living = {key: one for key, one in self._sessions.items() if one.expires_s > now_s}
        # Oldest first, as they were opened.
        self._sessions = dict(list(living.items())[-(MAX_SESSIONS - 1) :])
        token = secrets.token_urlsafe(32)
        self._sessions[_digest(token)] = _Session(now_s + self._lifetime_s, find_user)
        return token

    def find(self, token: str) -> User | None:
        """The user of a session; None where it is unknown or over."""
        session = self._sessions.get(_digest(token))
        if session is None or session.expires_s <= self._clock():
            return None
        return session.find_user()

    def close(self, token: str) -> None:
        """Ends a session."""
        self._sessions.pop(_digest(token), None)


def _digest(token: str) -> bytes:
    # A lookup by the token itself would take a time that depends on how much of it is right.
    return sha256(token.encode(errors="replace")).digest()


class Attempts:
    """Failed attempts by name and by address. The sixth must wait a second, each further one twice
    as long as the one before, up to a minute."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._failures: dict[str, tuple[int, float]] = {}

    def wait_s(self, *keys: str) -> float:
        """Seconds until the next attempt is checked; 0 for now."""
        return max(0.0, *(self._wait_s(key) for key in keys))

    def add(self, *keys: str) -> None:
        """Counts a failed attempt."""
        now_s = self._clock()
        for key in keys:
            count = self._count(key) + 1
            self._failures.pop(key, None)
            self._failures[key] = (count, now_s)
        while len(self._failures) > MAX_KEYS:
            del self._failures[next(iter(self._failures))]

    def forget(self, *keys: str) -> None:
        """Forgets the failures, after a success."""
        for key in keys:
            self._failures.pop(key, None)

    def _count(self, key: str) -> int:
        count, last_s = self._failures.get(key, (0, 0.0))
        return count if self._clock() - last_s < FORGET_S else 0

    def _wait_s(self, key: str) -> float:
        count = self._count(key)
        if count < FREE_ATTEMPTS:
            return 0.0
        pause_s = min(2.0 ** min(count - FREE_ATTEMPTS, 10), LONGEST_WAIT_S)
        return self._failures[key][1] + pause_s - self._clock()
