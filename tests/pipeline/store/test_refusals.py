"""Dead letters are written whatever is in them, on both databases, and never stop the rest."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from pipeline.errors import RecordRefused, ServiceError
from pipeline.records import DeadLetter
from pipeline.store import refusals
from pipeline.store.refusals import store_dead_letters, store_messages
from pipeline.store.schema import camera_status, dead_letters
from pipeline.store.writer import StoreWriter

LONG = random.Random(0).randbytes(5_000).hex()


def stored(engine: Engine) -> dict[str, tuple[str, bytes]]:
    told = dead_letters.c
    with engine.connect() as connection:
        rows = connection.execute(select(told.origin, told.reason, told.payload)).all()
    return {origin: (reason, payload) for origin, reason, payload in rows}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.text() | st.just("\0") | st.just(LONG) | st.just("\U0001f600" * 3_000),
            st.text() | st.just("\0\ud800" + LONG),
            st.binary(),
        ),
        max_size=8,
    )
)
def test_any_letter_is_stored(engine: Engine, told: list[tuple[str, str, bytes]]) -> None:
    letters = [DeadLetter(*one) for one in told]
    assert store_dead_letters(StoreWriter(engine), letters) == 0
    found = stored(engine)
    for letter in letters:
        assert letter.origin.replace("\0", "\ufffd") in found


@pytest.mark.parametrize("size", [0, 3_000_000])
def test_a_letter_on_which_the_index_chokes(engine: Engine, size: int) -> None:
    """No sentence of a foreign program is longer than the index allows."""
    letters = [DeadLetter(LONG + end, LONG, bytes(size)) for end in ("a", "b")]
    store_dead_letters(StoreWriter(engine), letters)
    assert set(stored(engine)) == {letter.origin for letter in letters}
    assert {payload for _, payload in stored(engine).values()} == {bytes(size)}


def test_a_payload_beyond_all_use_is_cut_and_counted(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "DEAD_LETTER_BYTES", 1000)
    letters = [DeadLetter("a", "why", b"x" * 3000), DeadLetter("b", "why", b"y")]
    assert store_dead_letters(StoreWriter(engine), letters) == 1
    reason = "why (the first 1000 of 3000 bytes)"
    assert stored(engine) == {"a": (reason, b"x" * 1000), "b": ("why", b"y")}


class Choosy(StoreWriter):
    """A database that refuses some letters, as none that we know does."""

    def __init__(self, engine: Engine, refuses: Any) -> None:
        super().__init__(engine)
        self._refuses = refuses

    def write_dead_letters(self, letters: Any) -> None:
        if any(self._refuses(letter) for letter in letters):
            raise RecordRefused("database refuses a value", "here", "no")
        super().write_dead_letters(letters)


def test_what_is_refused_is_left_out_and_the_rest_is_stored(engine: Engine) -> None:
    letters = [DeadLetter(f"{n}", "why", b"x" * n) for n in range(9)]
    letters[4] = DeadLetter("bad origin", "why", b"xxxx")
    writer = Choosy(engine, lambda one: "bad" in one.origin or one.payload == b"x" * 7)
    assert store_dead_letters(writer, letters) == 2
    found = stored(engine)
    assert len(found) == 9
    assert found["7"] == ("why (without its 7 bytes)", b"")
    (digest,) = [origin for origin in found if origin.startswith("sha256:")]
    assert found[digest] == ("the database refuses its origin, reason and payload", b"")
    assert found["8"] == ("why", b"x" * 8)


def test_a_database_that_refuses_everything_is_at_fault(engine: Engine) -> None:
    with pytest.raises(ServiceError):
        store_dead_letters(Choosy(engine, lambda _: True), [DeadLetter("a", "why", b"")])


def test_mail_of_all_kinds(engine: Engine, make: Any) -> None:
    """NUL where a database may not hold it, half a surrogate pair, a number beyond 64 bits."""
    odd = make.status(1, shed={"a\0b": 3})
    bad = make.status(2).model_copy(update={"seq": 2**70})
    worse = make.status(3).model_copy(update={"id": "cam:\0", "reason": "\0"})
    letter = DeadLetter("undercam.tracks/0/1", "no JSON", b"{")
    store_messages(StoreWriter(engine), [odd, bad, make.observation(1), worse, letter])
    assert set(stored(engine)) >= {letter.origin, bad.id}
    assert stored(engine)[bad.id][0].startswith("database refuses a value: ")
    with engine.connect() as connection:
        shed = connection.execute(select(camera_status.c.id, camera_status.c.shed)).all()
    assert (odd.id, {"a\ufffdb": 3}) in [tuple(row) for row in shed]
