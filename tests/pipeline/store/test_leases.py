"""A camera has one reader, whatever dies, whatever the clocks say, also while nobody can ask."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import Engine, select, text

from pipeline.errors import ServiceError
from pipeline.holder import Holder
from pipeline.store.engine import for_writing, open_store
from pipeline.store.leases import LeaseClaims, LeaseKeeper, LeaseTable
from pipeline.store.schema import camera_leases

LEASE_S = 6.0


class Reader:
    """A command with a clock of its own."""

    def __init__(self, name: str, engine: Engine, clock_s: float = 0.0) -> None:
        self.clock_s = clock_s
        self.engine = engine
        self.table = LeaseTable(Holder(name, f"pid {name}"), LEASE_S, lambda: self.clock_s)

    def claim(self, *cameras: str, after_s: float = 1.0) -> LeaseClaims:
        self.clock_s += after_s
        return self.table.claim(self.engine, cameras)


def test_a_camera_is_given_once_and_the_second_learns_who_has_it(engine: Engine) -> None:
    first, second = Reader("1", engine), Reader("2", engine, 1e9)
    assert first.claim("door", "hall") == LeaseClaims(frozenset({"door", "hall"}))
    assert second.claim("door", "yard") == LeaseClaims(frozenset({"yard"}), {"door": "pid 1"})
    for _ in range(20):
        assert first.claim("door", "hall").ours == {"door", "hall"}
        assert second.claim("door", "yard").others == {"door": "pid 1"}
    assert first.claim("hall").ours == {"hall"}
    assert second.claim("door").ours == {"door"}
    assert first.claim("door", "hall").others == {"door": "pid 2"}
    second.table.release(engine)
    assert first.claim("door").ours == {"door"}
    first.table.release(engine)
    with engine.connect() as connection:
        assert connection.execute(select(camera_leases)).all() == []


def test_a_dead_holder_is_waited_for_by_the_clock_of_who_waits(engine: Engine) -> None:
    Reader("1", engine).claim("door")
    second = Reader("2", engine, -5e6)  # its clock is two months behind
    waited = 0
    while not second.claim("door").ours:
        waited += 1
        assert waited < 20
    assert waited == LEASE_S
    third = Reader("3", engine)
    assert third.claim("door").others == {"door": "pid 2"}


def test_time_in_which_nobody_could_ask_does_not_count(engine: Engine) -> None:
    """The database was away for an hour; the holder gets its turn when it is back."""
    first, second = Reader("1", engine), Reader("2", engine)
    first.claim("door")
    second.claim("door")
    assert second.claim("door", after_s=3600).others == {"door": "pid 1"}
    assert second.claim("door", after_s=2).others == {"door": "pid 1"}
    assert first.claim("door", after_s=3602).ours == {"door"}
    for _ in range(10):
        assert second.claim("door", after_s=3600).others == {"door": "pid 1"}


def test_a_holder_that_was_away_too_long_learns_that_it_lost(engine: Engine) -> None:
    first, second = Reader("1", engine), Reader("2", engine)
    first.claim("door")
    for _ in range(8):
        second.claim("door")
    assert first.claim("door") == LeaseClaims(frozenset(), {"door": "pid 2"})


class Readers(RuleBasedStateMachine):
    """Whoever believes that a camera is its own, and could ask lately, is alone with that."""

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        with for_writing(self.engine).begin() as connection:
            connection.execute(text("DELETE FROM camera_leases"))
        self.readers = [Reader(str(n), self.engine, 1000.0 * n) for n in range(3)]
        self.ours: list[frozenset[str]] = [frozenset()] * 3
        self.age_s = [0.0] * 3

    @rule(n=st.integers(0, 2), cameras=st.sets(st.sampled_from("ab")))
    def ask(self, n: int, cameras: set[str]) -> None:
        self.ours[n] = self.readers[n].claim(*cameras, after_s=0).ours
        self.age_s[n] = 0

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0, 7.0]))
    def wait(self, seconds: float) -> None:
        for n, reader in enumerate(self.readers):
            reader.clock_s += seconds
            self.age_s[n] += seconds

    @invariant()
    def nobody_is_read_twice(self) -> None:
        lately = [
            ours for ours, age_s in zip(self.ours, self.age_s, strict=True) if age_s < LEASE_S
        ]
        assert sum(map(len, lately)) == len(frozenset().union(*lately))


def test_any_order_of_anything(tmp_path: Path) -> None:
    Readers.engine = open_store(f"sqlite:///{tmp_path}/any.db")
    case = Readers.TestCase()
    case.settings = hypothesis_settings(max_examples=25, stateful_step_count=25, deadline=None)
    case.runTest()
    Readers.engine.dispose()


@pytest.fixture
def keep(url: str) -> Iterator[Callable[[str], LeaseKeeper]]:
    kept: list[LeaseKeeper] = []

    def kept_by(name: str) -> LeaseKeeper:
        holder = Holder(name, f"pid {name}")
        kept.append(LeaseKeeper(url, 1.0, holder, lease_s=0.5, every_s=0.02))
        kept[-1].start()
        return kept[-1]

    yield kept_by
    for keeper in kept:
        keeper.close()


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_two_keepers_share_a_database(keep: Callable[[str], LeaseKeeper]) -> None:
    first = keep("1")
    assert first(["door"]) == LeaseClaims()
    until(lambda: first(["door"]).ours == {"door"})
    second = keep("2")
    until(lambda: second(["door"]).others == {"door": "pid 1"})
    first.close()
    until(lambda: second(["door"]).ours == {"door"})


def test_one_that_cannot_ask_keeps_what_it_has_and_begins_nothing(
    keep: Callable[[str], LeaseKeeper], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = keep("1")
    until(lambda: first(["door"]).ours == {"door"})

    def away(*_: object) -> LeaseClaims:
        raise ServiceError("database cannot be reached", "there", "start it")

    monkeypatch.setattr(LeaseTable, "claim", away)
    until(lambda: "cannot be reached" in first(["door", "hall"]).trouble)
    assert first(["door", "hall"]).ours == {"door"}
    second = keep("2")
    until(lambda: "cannot be reached" in second(["door"]).trouble)
    assert second(["door"]).ours == frozenset()
