"""Each event arrives, in order, whatever is opened, shut, refused or killed in between."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import select

from pipeline.bus.outbox import Outbox
from pipeline.bus.relay import Relay
from pipeline.errors import ServiceError
from pipeline.messages import Message, read_message
from pipeline.records import DeadLetter, Event, EventsLost
from pipeline.store.engine import open_store
from pipeline.store.refusals import store_messages
from pipeline.store.schema import gaps, observations
from pipeline.store.writer import StoreWriter
from tests.pipeline.bus.test_outbox import full_now
from tests.pipeline.store.conftest import Make

ROOT = Path(__file__).parents[3]
AWAY = ServiceError("broker cannot be reached", "kafka://nowhere", "start it")


class Crash(Exception):
    """The relay's process dies."""


class Receiver:
    """Takes messages, refuses them, takes them and the answer is lost, or kills the relay."""

    def __init__(self) -> None:
        self.mood = "takes"
        self.got: list[Event | DeadLetter] = []

    def __call__(self, messages: Sequence[Message]) -> None:
        if self.mood != "refuses":
            self.got += map(read_message, messages)
        if self.mood in ("refuses", "answer is lost"):
            raise AWAY
        if self.mood == "kills":
            raise Crash


RUNS = st.sampled_from([("door", "e1"), ("door", "e2"), ("hall", "e1")])
MOST = 7


class Delivery(RuleBasedStateMachine):
    """Any interleaving of writers, relays, and a receiver with moods."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.receiver = Receiver()
        self.now = 0.0
        self.relay = self.open_relay()
        self.outboxes: dict[tuple[str, str], Outbox] = {}
        self.appended: dict[tuple[str, str], list[Event]] = {}

    def open_relay(self) -> Relay:
        return Relay(self.folder.name, self.receiver, batch_rows=3, clock=lambda: self.now)

    @rule(run=RUNS, count=st.integers(1, 6))
    def append(self, run: tuple[str, str], count: int) -> None:
        events = self.appended.setdefault(run, [])
        first = len(events)
        new = [Make.look(n, 10 * n, run[0], run[1]) for n in range(first, first + count)]
        if run not in self.outboxes:
            self.outboxes[run] = Outbox(self.folder.name, *run, max_rows=MOST)
        self.outboxes[run].append(new)
        events += new

    @rule(run=RUNS)
    def close(self, run: tuple[str, str]) -> None:
        if run in self.outboxes:
            self.outboxes.pop(run).close()

    @rule(
        mood=st.sampled_from(["takes", "takes", "refuses", "answer is lost", "kills"]),
        seconds=st.sampled_from([0.0, 20.0]),
    )
    def step(self, mood: str, seconds: float) -> None:
        self.receiver.mood = mood
        self.now += seconds
        try:
            self.relay.step()
        except Crash:
            self.relay.close()
            self.relay = self.open_relay()

    @invariant()
    def limit_holds(self) -> None:
        assert all(outbox.waiting <= MOST for outbox in self.outboxes.values())

    def teardown(self) -> None:
        """All is well again: in the end every event has arrived or is counted, never both."""
        self.receiver.mood = "takes"
        self.now += 20
        for outbox in self.outboxes.values():
            outbox.close()
        while self.relay.step():
            pass
        assert self.relay.waiting == 0
        assert self.relay.step() == 0
        self.relay.close()
        assert [path.name for path in Path(self.folder.name).iterdir()] == [".relay.lock"]
        self.folder.cleanup()
        for run, events in self.appended.items():
            self.judge(run, events)

    def judge(self, run: tuple[str, str], events: list[Event]) -> None:
        mine = [
            one
            for one in self.receiver.got
            if not isinstance(one, DeadLetter) and (one.camera, one.run) == run
        ]
        looks = list(dict.fromkeys(one for one in mine if not isinstance(one, EventsLost)))
        lost = {one.id: one.events for one in mine if isinstance(one, EventsLost)}
        assert looks == [event for event in events if event in set(looks)]
        assert len(looks) + sum(lost.values()) == len(events)


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def filled(folder: Path, camera: str, count: int, close: bool = True) -> Outbox:
    outbox = Outbox(folder, camera, "e1")
    outbox.append([Make.look(n, n, camera) for n in range(count)])
    if close:
        outbox.close()
    return outbox


def test_cameras_take_turns(tmp_path: Path) -> None:
    """A long queue does not keep the others waiting; short ones share a batch."""
    for camera, count in (("a", 100), ("b", 2), ("c", 2), ("d", 100)):
        filled(tmp_path, camera, count)
    batches: list[list[str]] = []

    def note(messages: Sequence[Message]) -> None:
        batches.append([one.camera for one in messages if not isinstance(one, DeadLetter)])

    with Relay(tmp_path, note, batch_rows=10) as relay:
        for _ in range(4):
            relay.step()
        assert batches[0] == ["a"] * 10
        assert batches[1] == [*"bbcc", *"d" * 6]
        assert batches[2] == ["a"] * 10
        assert batches[3] == ["d"] * 10
        assert (relay.sent, relay.batches, relay.waiting) == (40, 4, 164)


def test_away_means_later_and_later_and_nothing_is_forgotten(tmp_path: Path) -> None:
    filled(tmp_path, "door", 3)
    receiver, now, tries = Receiver(), 0.0, []
    receiver.mood = "answer is lost"
    with Relay(tmp_path, receiver, clock=lambda: now, chance=lambda: 0.5) as relay:
        for _ in range(400):
            before = len(receiver.got)
            assert relay.step() == 0
            if len(receiver.got) > before:
                tries.append(now)
            assert relay.fault is AWAY
            now += 0.125
        assert relay.waiting == 3
        pauses = [b - a for a, b in pairwise(tries)]
        assert pauses == [0.375, 0.75, 1.5, 3.0, 6.0, 11.25, 11.25, 11.25]
        receiver.mood, now = "takes", now + 20
        assert relay.step() == 3
        assert (relay.fault, relay.waiting) == (None, 0)


def test_one_relay_for_a_folder(tmp_path: Path) -> None:
    with (
        Relay(tmp_path, Receiver()),
        pytest.raises(ServiceError, match="another relay drains this outbox: .*undercam run"),
    ):
        Relay(tmp_path, Receiver())
    Relay(tmp_path, Receiver()).close()


def test_a_file_goes_when_it_is_empty_and_its_writer_gone(tmp_path: Path) -> None:
    live = filled(tmp_path, "door", 2, close=False)
    filled(tmp_path, "hall", 2)
    with Relay(tmp_path, Receiver()) as relay:
        assert relay.step() == 4
        assert relay.step() == 0
        assert [path.name for path in tmp_path.glob("*.outbox")] == ["door.e1.outbox"]
        live.append([Make.look(7)])
        live.close()
        assert relay.step() == 1
        assert relay.step() == 0
        assert [path.name for path in tmp_path.iterdir()] == [".relay.lock"]


def test_a_damaged_file_is_set_aside_and_stops_nobody(tmp_path: Path) -> None:
    filled(tmp_path, "lab", 3)
    path = filled(tmp_path, "door", 50).path
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 12_000)
    receiver = Receiver()
    with Relay(tmp_path, receiver) as relay:
        assert relay.step() == 3
        assert "outbox is damaged: " in str(relay.fault)
        assert relay.damaged == [tmp_path / "door.e1.outbox.1.damaged"]
        assert relay.step() == 0
        assert relay.fault is None
        assert len(relay.damaged) == 1
    assert [one.id for one in receiver.got] == [Make.look(n, camera="lab").id for n in range(3)]  # type: ignore[union-attr]


def test_a_file_that_its_writer_began_anew_is_found(tmp_path: Path) -> None:
    receiver = Receiver()
    with filled(tmp_path, "door", 5, close=False) as outbox, Relay(tmp_path, receiver) as relay:
        assert relay.step() == 5
        outbox._handle_error(DAMAGE)
        outbox.append([Make.look(7)])
        assert relay.step() == 1
        assert (receiver.got[-1], relay.fault) == (Make.look(7), None)


DAMAGE = sqlite3.DatabaseError("damaged")
DAMAGE.sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def test_a_full_disk_keeps_the_relay_from_deleting_not_from_delivering(tmp_path: Path) -> None:
    """Nothing is sent again and again meanwhile; with room again the file is emptied."""
    receiver = Receiver()
    with (
        filled(tmp_path, "door", 300, close=False) as outbox,
        Relay(tmp_path, receiver, batch_rows=100) as relay,
    ):
        relay.waiting  # noqa: B018 - opens the file
        with full_now(tmp_path):
            for _ in range(10):
                relay.step()
        assert "outbox cannot be read or written: " in str(relay.fault)
        assert len(receiver.got) in (0, 100, 200, 300)
        while relay.step():
            pass
        assert relay.fault is None
        assert [one.frame for one in receiver.got] == list(range(300))  # type: ignore[union-attr]
        outbox.append([Make.look(300)])
        assert relay.step() == 1
    with sqlite3.connect(tmp_path / "door.e1.outbox") as file:
        assert file.execute("SELECT count(*) FROM events").fetchone() == (0,)
    file.close()


@pytest.mark.parametrize("headers", ["id, schema", "NULL, NULL"], ids=["new", "old"])
def test_a_row_that_is_no_record_is_a_dead_letter(tmp_path: Path, headers: str) -> None:
    """A relay reads it where it must, the store where it need not; it is counted either way."""
    path = filled(tmp_path / "outbox", "door", 3).path
    broken = f"cast(x'7b22ff' AS TEXT), {headers}"
    with sqlite3.connect(path) as file:
        file.execute(f"UPDATE events SET (body, id, schema) = ({broken}) WHERE n = 2")
    file.close()
    receiver = Receiver()
    engine = open_store(f"sqlite:///{tmp_path}/store.db")

    def deliver(messages: Sequence[Message]) -> int:
        receiver(messages)
        return store_messages(StoreWriter(engine), messages)

    with Relay(tmp_path / "outbox", deliver) as relay:
        assert relay.step() == 3
        assert (relay.sent, relay.dead) == (2, 1)
    engine.dispose()
    letter = receiver.got[1]
    assert isinstance(letter, DeadLetter)
    assert (letter.origin, letter.payload) == ("door.e1.outbox/2", b'{"\xff')
    assert "Invalid JSON" in letter.reason


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("notes.txt", "Door.e1.outbox", "door.outbox"):
        (tmp_path / name).write_text("mine")
    with Relay(tmp_path, Receiver()) as relay:
        assert relay.step() == 0
    assert len(list(tmp_path.iterdir())) == 4


def test_run_sleeps_while_idle_and_ends_when_told(tmp_path: Path) -> None:
    filled(tmp_path, "door", 5)
    naps: list[float] = []
    with Relay(tmp_path, Receiver(), batch_rows=2, sleep=naps.append) as relay:
        relay.run(lambda: len(naps) == 3)
        assert (relay.sent, naps) == (5, [0.1] * 3)


RELAY = """
import sys, time
from pipeline.bus.relay import Relay
from pipeline.store.engine import open_store
from pipeline.store.refusals import store_messages
from pipeline.store.writer import StoreWriter
writer = StoreWriter(open_store(sys.argv[2]))
def deliver(mail):
    store_messages(writer, mail)
    print(len(mail), flush=True)
with Relay(sys.argv[1], deliver, batch_rows=7) as relay:
    relay.run(lambda: False)
"""


def test_killed_relays_deliver_once(tmp_path: Path) -> None:
    """kill -9 in the middle of draining, five times, while the camera goes on."""
    url = f"sqlite:///{tmp_path}/store.db"
    engine = open_store(url)
    outbox = Outbox(tmp_path / "outbox", "door", "e1", max_rows=400)
    for turn in range(5):
        outbox.append([Make.look(n, n) for n in range(turn * 200, turn * 200 + 200)])
        relay = subprocess.Popen(
            [sys.executable, "-c", RELAY, str(tmp_path / "outbox"), url],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        with relay:
            assert relay.stdout
            for _ in range(3 + turn):
                relay.stdout.readline()
            relay.kill()
    outbox.close()
    with Relay(tmp_path / "outbox", lambda mail: store_messages(StoreWriter(engine), mail)) as last:
        while last.step():
            pass
        assert last.waiting == 0
    with engine.connect() as connection:
        stored = connection.execute(select(observations.c.frame)).scalars().all()
        (lost,) = connection.execute(select(gaps.c.events)).scalars().all()
    engine.dispose()
    assert len(stored) + lost == 1000
    assert sorted(stored)[-400:] == list(range(600, 1000))


@pytest.mark.needs("postgres")
def test_what_the_database_refuses_is_set_aside(tmp_path: Path, postgres_url: str) -> None:
    """PostgreSQL holds no NUL in a key: that record is found and the others are stored."""
    engine = open_store(postgres_url)
    events: list[Event] = [Make.look(n) for n in range(20)]
    events[13] = Make.look(13).model_copy(update={"id": "obs:\0"})
    with Outbox(tmp_path, "door", "e1") as outbox:
        outbox.append(events)
    with Relay(tmp_path, lambda mail: store_messages(StoreWriter(engine), mail)) as relay:
        assert relay.step() == 20
    with engine.connect() as connection:
        stored = connection.execute(select(observations.c.frame)).scalars().all()
        rows = connection.exec_driver_sql("SELECT origin, reason, payload FROM dead_letters")
        ((origin, reason, payload),) = rows.all()
    engine.dispose()
    assert sorted(stored) == [n for n in range(20) if n != 13]
    assert origin == "obs:\ufffd"
    assert "database refuses a value: postgresql://127" in reason
    assert payload == events[13].to_json().encode()


@pytest.mark.slow
def test_it_keeps_up(tmp_path: Path) -> None:
    """Ten thousand events a minute are few: a relay moves more than 3,000 a second."""
    for camera in ("door", "hall"):
        filled(tmp_path, camera, 20_000)
    with Relay(tmp_path, Receiver()) as relay:
        begun_s = time.monotonic()
        while relay.step():
            pass
        assert relay.sent / (time.monotonic() - begun_s) > 3000
