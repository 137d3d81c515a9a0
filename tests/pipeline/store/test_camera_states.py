"""How a camera stood over time, from its statuses."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, insert

from pipeline.camera_states import UNKNOWN_AFTER_MS
from pipeline.store import queries as ask
from pipeline.store.engine import for_writing
from pipeline.store.schema import camera_status, cameras
from pipeline.store.writer import StoreWriter

T0 = 1_700_000_000_000
MINUTE, HOUR = 60_000, 3_600_000
Tell = Callable[..., None]


@pytest.fixture
def tell(engine: Engine, make: Any) -> Tell:
    """Stores statuses of one state, told every `every_ms` from its start until `until_ms`."""
    numbers = itertools.count()

    def write(
        state: str,
        since_ms: int,
        until_ms: int | None = None,
        reason: str = "",
        every_ms: int = 10_000,
        stored_ms: int | None = None,
        **where: Any,
    ) -> None:
        for told_ms in range(since_ms, (until_ms or since_ms) + 1, every_ms):
            made = make.status(next(numbers), state, since_ms, **where)
            made = made.model_copy(update={"reason": reason})
            clock = told_ms + 50 if stored_ms is None else stored_ms
            StoreWriter(engine, clock=lambda ms=clock: ms).write([made])

    return write


def states(engine: Engine, since_ms: int, until_ms: int, **options: Any) -> list[tuple[Any, ...]]:
    """Relative to T0, in seconds."""
    found = ask.camera_states(engine, "door", since_ms, until_ms, **options)
    assert all(one.until_ms == two.since_ms for one, two in itertools.pairwise(found))
    assert (found[0].since_ms, found[-1].until_ms) == (since_ms, until_ms)
    return [(round((one.since_ms - T0) / 1000), one.state, one.reason) for one in found]


def test_nothing_was_ever_told(engine: Engine) -> None:
    assert states(engine, T0, T0 + 9) == [(0, "unknown", "")]


def test_a_state_begins_before_the_window_and_changes_in_it(engine: Engine, tell: Tell) -> None:
    tell("online", T0 - HOUR, T0 + 120_000)
    tell("offline", T0 + 125_000, T0 + 300_000, "no answer")
    tell("online", T0 + 302_000, T0 + 600_000)
    told = [(0, "online", ""), (125, "offline", "no answer"), (302, "online", "")]
    assert states(engine, T0, T0 + 600_000) == told
    assert states(engine, T0, T0 + 130_000) == told[:2]
    assert states(engine, T0 + 200_000, T0 + 250_000) == [(200, "offline", "no answer")]


def test_an_old_status_speaks_for_a_while_only(engine: Engine, tell: Tell) -> None:
    tell("offline", T0, T0 + 60_000, "no answer")
    known_s = (60_050 + UNKNOWN_AFTER_MS) // 1000
    assert states(engine, T0, T0 + HOUR) == [(0, "offline", "no answer"), (known_s, "unknown", "")]
    assert states(engine, T0 + HOUR, T0 + 2 * HOUR) == [(3600, "unknown", "")]


@pytest.mark.parametrize(("reason", "state"), [("stopped", "stopped"), ("ended: x", "ended")])
def test_what_is_at_rest_stays_so(engine: Engine, tell: Tell, reason: str, state: str) -> None:
    tell("online", T0, T0 + 60_000)
    tell("offline", T0 + 61_000, reason=reason)
    told = states(engine, T0, T0 + 9 * HOUR)
    assert [(since, one) for since, one, _ in told] == [(0, "online"), (61, state)]


def test_a_backlog_speaks_for_the_time_that_the_database_was_away(
    engine: Engine, tell: Tell
) -> None:
    tell("online", T0, T0 + 60_000)
    later = {"since_ms": T0}
    for _ in range(180):  # half an hour of them, stored at once
        tell("online", **later, stored_ms=T0 + 30 * MINUTE)
    assert states(engine, T0, T0 + 30 * MINUTE) == [(0, "online", "")]


def test_the_last_words_of_a_machine_that_died_are_not_of_today(engine: Engine, tell: Tell) -> None:
    """One status lay in its outbox, and was stored when it was back, three hours later."""
    tell("online", T0, T0 + 60_000)
    tell("online", T0, stored_ms=T0 + 3 * HOUR)
    tell("online", T0 + 3 * HOUR, T0 + 3 * HOUR + 60_000, run="e2")
    (online, unknown, back) = states(engine, T0, T0 + 3 * HOUR + 60_000)
    assert (online[1], unknown[1], back[:2]) == ("online", "unknown", (3 * 3600, "online"))
    assert 60 < unknown[0] <= 60 + 2 * UNKNOWN_AFTER_MS // 1000 + 1


def test_times_of_a_file_are_no_times_of_day(engine: Engine, tell: Tell) -> None:
    tell("online", 40, run="0123456789ab", stored_ms=T0)
    assert states(engine, T0, T0 + 9) == [(0, "unknown", "")]


def test_another_camera_changes_nothing(engine: Engine, tell: Tell) -> None:
    tell("online", T0, T0 + 60_000)
    tell("offline", T0 + 5_000, T0 + 60_000, camera="hall")
    assert states(engine, T0, T0 + 60_000) == [(0, "online", "")]


def test_the_changes_are_bounded(engine: Engine, tell: Tell) -> None:
    for number in range(20):
        tell(("online", "offline")[number % 2], T0 + number * 1_000)
    found = states(engine, T0, T0 + 20_000, limit=5)
    assert [since for since, *_ in found] == [0, 15, 16, 17, 18, 19]
    assert found[0][1] == "unknown"


def test_a_week_of_statuses_is_not_read(engine: Engine) -> None:
    """One state, told every twenty seconds for a week, and a change each day: found at once."""
    times = T0 + np.arange(0, 7 * 86_400_000, 20_000)
    rows = [
        {"id": f"cam:door:e1:{n}", "camera": "door", "run": "e1", "seq": n, "state": "online"}
        | {"since_ms": int(ms - (ms - T0) % 86_400_000), "reason": "", "fps": 15.0, "lag_ms": 9}
        | {"shed": {}, "stored_ms": int(ms) + 50}
        for n, ms in enumerate(times)
    ]
    with for_writing(engine).begin() as connection:
        connection.execute(insert(cameras).values(camera="door", stored_ms=T0))
        connection.execute(insert(camera_status), rows)
    ask.camera_states(engine, "door", T0, T0 + HOUR)
    began = time.perf_counter()
    found = ask.camera_states(engine, "door", T0, T0 + 7 * 86_400_000)
    assert time.perf_counter() - began < 0.1
    assert [one.since_ms - T0 for one in found] == [day * 86_400_000 for day in range(7)]
