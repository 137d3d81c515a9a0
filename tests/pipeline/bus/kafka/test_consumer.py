"""Nothing that lies in a topic stops the feed, and what cannot be read comes out with a reason."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from kafka import codec

from pipeline.bus.kafka import batches
from pipeline.errors import ServiceError
from pipeline.fields import ORIGIN_CHARS, REASON_CHARS
from pipeline.messages import read_record
from pipeline.records import DeadLetter, FaceObserved
from tests.pipeline.bus.kafka.conftest import Reading
from tests.pipeline.bus.kafka.wire import CODECS, GZIP, NONE, ZSTD, batch_of

anything = st.binary(max_size=300)
headers = st.lists(st.tuples(st.binary(max_size=40), st.none() | anything), max_size=4)
records = st.tuples(st.none() | anything, st.none() | anything, headers)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lies=st.dictionaries(
        st.sampled_from(["observations", "tracks", "cameras", "dead"]),
        st.lists(records, min_size=1, max_size=6),
    ),
    kind=st.sampled_from(list(CODECS.values())),
)
def test_any_bytes_as_key_value_and_headers(reading: Reading, lies: Any, kind: int) -> None:
    feed, consumer = reading({name: batch_of(told, 7, kind) for name, told in lies.items()})
    batch = feed.poll(0)
    assert (len(batch.events), len(feed.poll(0))) == (0, 0)
    assert len(batch.dead) == len(lies.get("dead", []))
    assert len(batch) == sum(map(len, lies.values()))
    for letter in [*batch.unreadable, *batch.dead]:
        assert letter.reason or "dead" in lies
        assert len(letter.reason) <= REASON_CHARS
        assert len(letter.origin) <= ORIGIN_CHARS
    payloads = [
        value or b"" for name, told in lies.items() if name != "dead" for _, value, _ in told
    ]
    assert sorted(letter.payload for letter in batch.unreadable) == sorted(payloads)
    feed.commit()
    wanted = {f"undercam.{name}": 7 + len(told) for name, told in lies.items()}
    assert {place.topic: offset for place, offset in consumer.committed.items()} == wanted


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(list(CODECS.values())),
    at=st.integers(17, 400),
    patch=st.binary(min_size=1, max_size=60),
    with_right_sum=st.booleans(),
)
@example(kind=NONE, at=19, patch=b"\0\0\0\x35", with_right_sum=True)
def test_a_damaged_batch_is_passed(
    reading: Reading, make: Any, kind: int, at: int, patch: bytes, with_right_sum: bool
) -> None:
    """Whatever is damaged behind a batch's length, the one behind it is read."""
    whole = batch_of([(b"door", make.look(n).to_json().encode(), []) for n in range(5)], 0, kind)
    at = min(at, len(whole) - len(patch))
    damaged = bytearray(whole)
    damaged[at : at + len(patch)] = patch
    damaged[16] = whole[16]  # the format's version
    if with_right_sum:
        damaged[23:27] = whole[23:27]  # which offsets it spans
        damaged[17:21] = batches.DefaultRecordBatch.HEADER_STRUCT.pack(
            *(0,) * 4, batches_sum(bytes(damaged[21:])), *(0,) * 8
        )[17:21]
    last = batch_of([(b"door", make.look(9).to_json().encode(), [])], 5, NONE)
    feed, _ = reading({"observations": bytes(damaged) + last})
    codec_kind, is_control = damaged[22] & 7, damaged[22] & 0x20
    if with_right_sum and codec_kind > max(CODECS.values()) and not is_control:
        with pytest.raises(ServiceError, match="cannot be unpacked"):
            feed.poll(0)
        return
    batch = feed.poll(0)
    assert [event.id for event in batch.events][-1:] == [make.look(9).id]
    for letter in batch.unreadable:
        assert letter.origin.startswith("undercam.observations/0/")


def batches_sum(data: bytes) -> int:
    from kafka.record.util import calc_crc32c

    return int(calc_crc32c(data))


def test_a_header_that_is_no_text_costs_its_record_alone(reading: Reading, make: Any) -> None:
    looks = [make.look(n).to_json().encode() for n in range(4)]
    told = [(b"door", look, [(b"id", b"x")]) for look in looks]
    told[1] = (b"door", looks[1], [(b"fine", b""), (b"\xff\xfe", b"1"), (b"\xc3(", None)])
    feed, consumer = reading({"observations": batch_of(told, 40)})
    batch = feed.poll(0)
    assert [event.frame for event in batch.events if isinstance(event, FaceObserved)] == [0, 2, 3]
    reason = "name of a header is not UTF-8"
    assert batch.unreadable == [DeadLetter("undercam.observations/0/41", reason, looks[1])]
    feed.commit()
    assert set(consumer.committed.values()) == {44}


@pytest.mark.parametrize("kind", CODECS.values(), ids=CODECS)
def test_every_codec_is_read(reading: Reading, make: Any, kind: int) -> None:
    told = [(b"door", make.look(n).to_json().encode(), []) for n in range(300)]
    feed, _ = reading({"observations": batch_of(told, 0, kind)})
    assert [event.id for event in feed.poll(0).events] == [make.look(n).id for n in range(300)]


@pytest.mark.parametrize("name", ["snappy", "lz4", "zstd"])
def test_a_codec_that_is_not_installed(
    reading: Reading, make: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It is said, and nothing is passed over."""
    feed, consumer = reading({"tracks": batch_of([(b"d", bytes(1000), [])], 0, CODECS[name])})
    monkeypatch.setattr(codec, name, None)
    with pytest.raises(ServiceError, match="cannot be unpacked") as caught:
        feed.poll(0)
    assert f" {name} " in str(caught.value)
    assert str(caught.value).endswith(": kafka://nobody:1: pip install 'undercam[kafka]'")
    feed.commit()
    assert consumer.committed == {}


@pytest.mark.parametrize("kind", [GZIP, ZSTD])
def test_a_batch_that_becomes_gigabytes_is_not_unpacked(
    reading: Reading, monkeypatch: pytest.MonkeyPatch, kind: int
) -> None:
    monkeypatch.setattr(batches, "UNPACKED_BYTES", 10_000_000)
    feed, _ = reading({"cameras": batch_of([(b"d", bytes(30_000_000), [])], 3, kind)})
    (letter,) = feed.poll(0).unreadable
    assert letter.origin == "undercam.cameras/0/3"
    assert "become more than 10000000" in letter.reason
    assert len(letter.payload) < 100_000


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b'{"schema": "' + b"s" * 1_000_000 + b'"}',
        b'{"schema": "undercam.events_lost/1", "' + b"k" * 1_000_000 + b'": 1}',
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"9" * 1_000_000,
        b'{"schema": "undercam.track_updated/1", "seq": 1' + b"0" * 30 + b"}",
        b'{"schema": "undercam.camera_status/1", "fps": NaN}',
        b'{"schema": "undercam.camera_status/1", "fps": 1e999, "id": "\\u0000\\ud800"}',
        b"\xef\xbb\xbf{}",
    ],
    ids=lambda payload: payload[:30].decode(errors="replace"),
)
def test_values_that_are_no_record(reading: Reading, payload: bytes) -> None:
    feed, _ = reading({"tracks": batch_of([(b"d", payload, [])])})
    (letter,) = feed.poll(0).unreadable
    assert (letter.origin, letter.payload) == ("undercam.tracks/0/0", payload)
    assert 0 < len(letter.reason) <= REASON_CHARS


def test_a_dead_letter_that_is_still_unreadable_stays_as_it_is(reading: Reading) -> None:
    payload = b'{"schema": "undercam.face_observed/999"}'
    found = read_record(payload, "door.e1.outbox/2")
    assert isinstance(found, DeadLetter)
    named = [(b"origin", found.origin.encode()), (b"reason", found.reason.encode())]
    feed, _ = reading({"dead": batch_of([(b"k", payload, named)])})
    assert feed.poll(0).dead == [found]
