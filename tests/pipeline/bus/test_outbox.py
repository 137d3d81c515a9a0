"""What was appended is there: after a kill, on a full disk, past the limit it is counted."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from pipeline.bus import outbox_file
from pipeline.bus.inspection import inspect_outboxes
from pipeline.bus.outbox import EventsNotWritten, Outbox
from pipeline.bus.relay import Relay
from pipeline.errors import ServiceError
from pipeline.messages import Message, read_message
from pipeline.records import DeadLetter, Event, EventsLost
from tests.disk import full_disk

ROOT = Path(__file__).parents[3]


def drained(folder: Path) -> list[Event | DeadLetter]:
    """Everything that a relay finds."""
    got: list[Message] = []
    with Relay(folder, got.extend) as relay:
        while relay.step():
            pass
        assert relay.fault is None
        assert relay.waiting == 0
    return [read_message(one) for one in got]


def looks(make: Any, count: int, first: int = 0, **told: Any) -> list[Event]:
    return [make.look(n, 1_000 + 40 * n, **told) for n in range(first, first + count)]


def test_events_come_back_in_order_and_a_new_opening_goes_on_behind(
    tmp_path: Path, make: Any
) -> None:
    events = [*looks(make, 5), make.track(3), make.status(2), make.loss()]
    with Outbox(tmp_path, "door", "e1") as outbox:
        outbox.append(events[:3])
        assert outbox.waiting == 3
    with Outbox(tmp_path, "door", "e1") as outbox:
        outbox.append(events[3:])
        assert outbox.waiting == len(events)
        assert drained(tmp_path) == events
        assert outbox.waiting == 0
        assert (outbox.fault, outbox.has_room) == ("", True)


def test_one_writer_for_a_run(tmp_path: Path) -> None:
    with (
        Outbox(tmp_path, "door", "e1"),
        Outbox(tmp_path, "door", "e2"),
        pytest.raises(ServiceError, match=r"another process: .*door\.e1\.outbox: one process may"),
    ):
        Outbox(tmp_path, "door", "e1")
    Outbox(tmp_path, "door", "e1").close()


def test_a_closed_one_takes_nothing(tmp_path: Path, make: Any) -> None:
    outbox = Outbox(tmp_path, "door", "e1")
    outbox.close()
    outbox.close()
    with pytest.raises(ValueError, match="outbox is closed"):
        outbox.append(looks(make, 1))


@pytest.mark.parametrize(("camera", "run"), [("../door", "e1"), ("Door", "e1"), ("door", "now")])
def test_only_cameras_and_runs_make_a_file(tmp_path: Path, camera: str, run: str) -> None:
    with pytest.raises(ValueError, match="not a camera and a run"):
        Outbox(tmp_path, camera, run)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(ServiceError, match="outbox cannot be made: .*state"):
        Outbox(tmp_path / "state" / "outbox", "door", "e1")


def test_past_the_limit_the_oldest_go_and_are_counted(tmp_path: Path, make: Any) -> None:
    events = looks(make, 25)
    with Outbox(tmp_path, "door", "e1", max_rows=10) as outbox:
        for first in range(0, 25, 4):
            outbox.append(events[first : first + 4])
            assert outbox.waiting <= 10
        assert drained(tmp_path) == [*events[15:], make.loss(1_000, 15, 1_000, 1_560, reason=FULL)]


FULL = "outbox was full"


def test_what_is_under_way_is_never_called_lost(tmp_path: Path, make: Any) -> None:
    """The bus is slow: while it takes five, the camera goes far past the limit."""
    events, got = looks(make, 40), list[Event | DeadLetter]()
    outbox = Outbox(tmp_path, "door", "e1", max_rows=10)
    outbox.append(events[:8])

    def slowly(messages: Sequence[Message]) -> None:
        outbox.append(events[8:])
        got.extend(read_message(one) for one in messages)

    with Relay(tmp_path, slowly, batch_rows=5) as relay:
        assert relay.step() == 5
    assert got == events[:5]
    assert drained(tmp_path) == [*events[30:], make.loss(1_200, 25, 1_200, 2_160, reason=FULL)]
    outbox.close()


def test_a_gap_grows_while_it_lasts_and_a_later_one_is_another(tmp_path: Path, make: Any) -> None:
    outbox = Outbox(tmp_path, "door", "e1", max_rows=1)
    told: list[tuple[str, int]] = []
    for first in (0, 10, 3000):
        outbox.append(looks(make, 5, first))
        told += [(one.id, one.events) for one in drained(tmp_path) if isinstance(one, EventsLost)]
    outbox.close()
    assert told == [("gap:door:e1:1000", 4), ("gap:door:e1:1000", 8), ("gap:door:e1:121000", 4)]


def test_a_gap_is_no_earlier_one_though_the_file_is_new(tmp_path: Path, make: Any) -> None:
    ids = set()
    for first in (0, 5000):
        with Outbox(tmp_path, "door", "e1", max_rows=1) as outbox:
            outbox.append(looks(make, 5, first))
        ids |= {one.id for one in drained(tmp_path) if isinstance(one, EventsLost)}
        assert not list(tmp_path.glob("*.outbox"))
    assert len(ids) == 2


def test_a_camera_that_loses_nothing_is_told_to_wait(tmp_path: Path, make: Any) -> None:
    events = looks(make, 12)
    with Outbox(tmp_path, "door", "0123456789ab", max_rows=10, sheds=False) as outbox:
        outbox.append(events[:9])
        assert outbox.has_room
        outbox.append(events[9:])
        assert not outbox.has_room
        assert drained(tmp_path) == events
        assert outbox.has_room


def full_now(folder: Path) -> AbstractContextManager[None]:
    """No file may grow beyond what the outbox's are now."""
    return full_disk(max(path.stat().st_size for path in folder.iterdir()))


@pytest.mark.parametrize("sheds", [True, False])
def test_full_disk_loses_and_reorders_nothing(tmp_path: Path, make: Any, sheds: bool) -> None:
    events = looks(make, 400)
    with Outbox(tmp_path, "door", "e1", sheds=sheds) as outbox:
        outbox.append(events[:200])
        with full_now(tmp_path):
            for event in events[200:300]:
                outbox.append([event])
            assert "door.e1.outbox: check its disk" in outbox.fault
            assert not outbox.has_room
            assert outbox.waiting == 300
        outbox.append(events[300:])
        assert (outbox.fault, outbox.has_room) == ("", True)
        assert outbox.waiting == 400
        assert drained(tmp_path) == events


def test_full_disk_has_its_limit_too(tmp_path: Path, make: Any) -> None:
    events = looks(make, 100)
    with Outbox(tmp_path, "door", "e1", max_rows=20) as outbox:
        with full_now(tmp_path):
            for event in events:
                outbox.append([event])
            assert 20 <= outbox.waiting < 40
        outbox.append([])
        assert outbox.waiting == 20
        *kept, lost = drained(tmp_path)
        assert kept == events[80:]
        assert isinstance(lost, EventsLost)
        assert (lost.events, lost.since_ms, lost.until_ms) == (80, 1_000, 4_160)


def test_what_a_full_disk_takes_for_good_is_said_at_the_end(tmp_path: Path, make: Any) -> None:
    outbox = Outbox(tmp_path, "door", "e1")
    with full_now(tmp_path):
        outbox.append(looks(make, 50))
        with pytest.raises(ServiceError, match="50 events could not be written and are lost: "):
            outbox.close()
        left = inspect_outboxes(tmp_path)
    assert [(one.lost, one.live) for one in left] == [(50, False)]
    Outbox(tmp_path, "door", "e1").close()
    assert drained(tmp_path) == [make.loss(1_000, 50, 1_000, 2_960, reason=FULL)]
    assert [path.name for path in tmp_path.iterdir()] == [".relay.lock"]


WRITTEN = "outbox could not be written"


@pytest.mark.parametrize("how", ["closed", "damaged", "removed"])
def test_what_could_not_be_written_is_a_gap_also_while_the_disk_is_full(
    tmp_path: Path, make: Any, how: str
) -> None:
    """The relay tells it as long as the disk is full, and again never."""
    got: list[Message] = []
    outbox = Outbox(tmp_path, "door", "e1", max_rows=40)
    outbox.append(looks(make, 40))
    with Relay(tmp_path, got.extend) as relay:
        while relay.step():
            pass
        got.clear()
        with full_now(tmp_path):
            for event in looks(make, 50, first=100):
                outbox.append([event])
            assert relay.step() == 0  # as long as the writer lives, nothing is lost
            with pytest.raises(EventsNotWritten):
                outbox.close()
            if how == "damaged":
                outbox_file.set_aside(outbox.path)
            if how == "removed":
                outbox.path.unlink()
            assert relay.waiting == 1
            assert relay.step() == 1
            assert relay.waiting == 0
        assert relay.step() == 0
        assert relay.lost == 50
    assert got == [make.loss(5_000, 50, 5_000, 6_960, reason=WRITTEN)]
    assert not list(tmp_path.glob("*.lock"))[1:]


def test_a_note_goes_when_there_is_room_again(tmp_path: Path, make: Any) -> None:
    with Outbox(tmp_path, "door", "e1") as outbox:
        with full_now(tmp_path):
            outbox.append(looks(make, 50))
            assert outbox_file.read_loss(outbox.path) == (1_000, 2_960, 50)
        outbox.append([])
        assert outbox_file.read_loss(outbox.path) is None
    assert drained(tmp_path) == looks(make, 50)


def test_a_file_that_can_be_read_again_leaves_no_gap(tmp_path: Path, make: Any) -> None:
    outbox = Outbox(tmp_path, "door", "0123456789ab", sheds=False)
    with full_now(tmp_path):
        outbox.append(looks(make, 50))
        with pytest.raises(EventsNotWritten, match="50 events"):
            outbox.close()
    assert drained(tmp_path) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.bus.outbox import Outbox
from tests.pipeline.bus.test_outbox import full_now
from tests.pipeline.store.conftest import Make
outbox = Outbox(sys.argv[1], "door", "e1")
with full_now(Path(sys.argv[1])):
    outbox.append([Make.look(n, 1_000 + 40 * n) for n in range(50)])
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_writer_that_is_killed_on_a_full_disk_leaves_a_gap(tmp_path: Path, make: Any) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT)
    assert drained(tmp_path) == [make.loss(1_000, 50, 1_000, 2_960, reason=WRITTEN)]


def test_a_damaged_file_is_set_aside_and_begun_anew(tmp_path: Path, make: Any) -> None:
    (tmp_path / "door.e1.outbox").write_bytes(b"not a database" * 500)
    with Outbox(tmp_path, "door", "e1") as outbox:
        outbox.append(looks(make, 3))
        assert drained(tmp_path) == looks(make, 3)
    assert (tmp_path / "door.e1.outbox.1.damaged").read_bytes().startswith(b"not a database")


def test_a_file_damaged_under_a_live_writer(tmp_path: Path, make: Any) -> None:
    events = looks(make, 60)
    with Outbox(tmp_path, "door", "e1") as outbox:
        outbox.append(events[:50])
        path = outbox.path
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        other.close()
        path.write_bytes(b"\0" * path.stat().st_size)
        outbox.append(events[50:55])
        assert "outbox is damaged" in outbox.fault
        outbox.append(events[55:])
        assert outbox.fault == ""
        assert drained(tmp_path) == events[50:]


WRITER = """
import sys
from pipeline.bus.outbox import Outbox
from tests.pipeline.store.conftest import Make
with Outbox(sys.argv[1], "door", "e1") as outbox:
    for n in range(100_000):
        outbox.append([Make.look(n, n), Make.track(n)])
        print(n, flush=True)
"""


def test_killed_writer_leaves_all_that_it_appended(tmp_path: Path, make: Any) -> None:
    """kill -9 in the middle of appending, three times; each next one goes on in the same file."""
    expected = 0
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
        )
        with writer:
            assert writer.stdout
            for line in writer.stdout:
                if int(line) >= 150:
                    writer.kill()
                    break
            said = [int(line) for line in writer.stdout.read().split()]
        got = drained(tmp_path)
        appended = 2 * (max([150, *said]) + 1)
        assert len(got) in (appended, appended + 2)
        assert [one.id for one in got[::2]] == [make.look(n).id for n in range(len(got) // 2)]
        assert [one.seq for one in got[1::2]] == list(range(len(got) // 2))
        expected += len(got)
    assert expected >= 900
