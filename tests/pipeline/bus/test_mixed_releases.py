"""A rolling upgrade: outboxes of the release before, and a reader that is older than the writer."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from pipeline.bus import outbox_file
from pipeline.bus.outbox import Outbox
from pipeline.bus.relay import Relay
from pipeline.errors import RecordRefused
from pipeline.messages import EncodedRecord, Message, read_message
from pipeline.records import DeadLetter, FaceObserved
from pipeline.store.engine import open_store
from pipeline.store.refusals import store_messages
from pipeline.store.replay import replay_newer
from pipeline.store.schema import camera_status, dead_letters, gaps, observations, tracks
from pipeline.store.writer import StoreWriter
from tests.disk import full_disk
from tests.pipeline.bus.releases import old_lines, release_before, write_as_before

TABLES = (observations, tracks, camera_status, gaps)


def relayed(folder: Path) -> list[Message]:
    got: list[Message] = []
    with Relay(folder, got.extend, batch_rows=4) as relay:
        while relay.step():
            pass
        assert (relay.fault, relay.waiting) == (None, 0)
    return got


def rows_of(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Everything but when it was stored."""
    with engine.connect() as connection:
        found = {
            table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in (*TABLES, dead_letters)
        }
    for rows in found.values():
        rows.sort(key=lambda row: str(row.get("id", row.get("origin"))))
        for row in rows:
            del row["stored_ms"]
    return found


def stored(folder: Path, name: str, messages: list[Any]) -> dict[str, list[dict[str, Any]]]:
    engine = open_store(f"sqlite:///{folder}/{name}.db")
    store_messages(StoreWriter(engine), messages)
    found = rows_of(engine)
    engine.dispose()
    return found


def test_an_outbox_of_the_release_before_becomes_the_right_rows(tmp_path: Path) -> None:
    lines = old_lines()
    write_as_before(tmp_path / "outbox/lobby.e42.outbox", lines)
    got = relayed(tmp_path / "outbox")
    assert [one.payload.decode() for one in got if isinstance(one, EncodedRecord)] == lines
    found = stored(tmp_path, "store", got)
    assert [len(found[table.name]) for table in TABLES] == [3, 1, 1, 1]
    assert found["dead_letters"] == []
    look = next(json.loads(line) for line in lines if "face_observed" in line)
    row = found["observations"][0]
    assert (row["id"], row["model"], row["p_happiness"]) == (
        look["id"],
        look["model"],
        look["probabilities"]["happiness"],
    )


def test_a_new_writer_goes_on_in_an_old_file_and_an_old_one_in_a_new(
    tmp_path: Path, make: Any
) -> None:
    """Old rows, new rows, and those of an old process that still has the file open."""
    path = tmp_path / "door.e1.outbox"
    old = [line.replace('"lobby"', '"door"').replace('"e42"', '"e1"') for line in old_lines()]
    write_as_before(path, old[:2])
    with Outbox(tmp_path, "door", "e1") as outbox:
        outbox.append([make.look(1), make.look(2)])
        write_as_before(path, old[2:4])
        outbox.append([make.look(3)])
        assert outbox.waiting == 7
        got = relayed(tmp_path)
    new = [make.look(n).to_json() for n in (1, 2, 3)]
    wanted = [*old[:2], *new[:2], *old[2:4], new[2]]
    assert [one.payload.decode() for one in got if isinstance(one, EncodedRecord)] == wanted
    assert [one.id for one in got if isinstance(one, EncodedRecord)] == [
        json.loads(line)["id"] for line in wanted
    ]


def test_a_full_disk_keeps_an_old_file_as_it_is_until_there_is_room(
    tmp_path: Path, make: Any
) -> None:
    """It is opened and read; the columns come with the first rows that are written."""
    path = tmp_path / "door.e1.outbox"
    write_as_before(path, [make.look(n).to_json() for n in range(40)])
    with full_disk(32_768):
        outbox = Outbox(tmp_path, "door", "e1")
        outbox.append([make.look(n) for n in range(40, 140)])
        assert "door.e1.outbox: check its disk" in outbox.fault
        assert outbox.waiting == 140
        with closing(sqlite3.connect(path)) as file:
            assert not outbox_file.has_headers(file)
    with outbox:
        outbox.append([])
        assert outbox.fault == ""
        read = [read_message(one) for one in relayed(tmp_path)]
    assert [one.frame for one in read if isinstance(one, FaceObserved)] == list(range(140))


def test_a_reader_of_the_release_before_reads_a_new_file(tmp_path: Path, make: Any) -> None:
    """The columns that it does not know are in nobody's way."""
    with Outbox(tmp_path, "door", "e1") as outbox:
        outbox.append([make.look(1)])
        with closing(sqlite3.connect(outbox.path)) as file:
            query = "SELECT n, body FROM events WHERE n > 0 ORDER BY n LIMIT 5"
            assert file.execute(query).fetchall() == [(1, make.look(1).to_json())]


def test_what_an_old_store_cannot_read_is_stored_after_its_upgrade(
    tmp_path: Path, make: Any
) -> None:
    """Dead letters of a newer release become the rows that they would have been, and go."""
    events = [make.look(1), make.track(0), make.look(2), make.track(1, "end"), make.loss(7)]
    with Outbox(tmp_path / "outbox", "door", "e1") as outbox:
        outbox.append(events)
    engine = open_store(f"sqlite:///{tmp_path}/store.db")
    writer = StoreWriter(engine)
    with (
        release_before(),
        Relay(tmp_path / "outbox", lambda messages: store_messages(writer, messages)) as relay,
    ):
        while relay.step():
            pass
        assert replay_newer(writer) == 0
    assert (relay.sent, relay.dead) == (2, 3)
    found = rows_of(engine)
    assert [len(found[table.name]) for table in TABLES] == [0, 1, 0, 0]
    assert {row["reason"] for row in found["dead_letters"]} == {
        "record face_observed/2 is newer than this release reads (1): upgrade the store first",
        "record events_lost/1 is newer than this release reads (nothing of this kind): upgrade the "
        "store first",
    }
    other = DeadLetter("door.e1.outbox/9", "Invalid JSON", b"{")
    writer.write_dead_letters([other])
    assert replay_newer(writer) == 3
    assert replay_newer(writer) == 0
    assert rows_of(engine) == stored(tmp_path, "other", [*events, other])
    engine.dispose()


def test_a_crash_in_the_middle_of_a_replay_loses_and_doubles_nothing(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crash(Exception):
        pass

    def crash(*_: Any) -> None:
        raise Crash

    engine = open_store(f"sqlite:///{tmp_path}/store.db")
    writer = StoreWriter(engine)
    events = [make.look(n) for n in range(5)]
    with release_before():
        store_messages(writer, [EncodedRecord.of(event) for event in events])
    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "delete_dead_letters", crash)
        with pytest.raises(Crash):
            replay_newer(writer)
    assert replay_newer(writer) == 5
    assert rows_of(engine) == stored(tmp_path, "other", [*events])
    engine.dispose()


def test_what_the_database_refuses_in_a_replay_stays_a_dead_letter(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_store(f"sqlite:///{tmp_path}/store.db")
    writer = StoreWriter(engine)
    with release_before():
        store_messages(writer, [EncodedRecord.of(make.look(n)) for n in range(3)])
    write = StoreWriter.write

    def refuse(self: StoreWriter, events: Any) -> Any:
        if any(event.frame == 1 for event in events):
            raise RecordRefused("database refuses a value", "here", "see to it")
        return write(self, events)

    monkeypatch.setattr(StoreWriter, "write", refuse)
    assert replay_newer(writer) == 3
    found = rows_of(engine)
    engine.dispose()
    assert [row["frame"] for row in found["observations"]] == [0, 2]
    ((letter),) = found["dead_letters"]
    assert (letter["origin"], letter["payload"]) == (
        make.look(1).id,
        make.look(1).to_json().encode(),
    )
    assert letter["reason"].startswith("database refuses a value")
