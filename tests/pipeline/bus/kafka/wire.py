"""Batches as they lie in a topic, whatever is in them, and a consumer that reads them."""

from __future__ import annotations

from collections import deque
from typing import Any

import kafka
from kafka.consumer.fetcher import Fetcher
from kafka.record import MemoryRecords
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.structs import MemberState, TopicPartition

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
CODECS = {"none": NONE, "gzip": GZIP, "snappy": SNAPPY, "lz4": LZ4, "zstd": ZSTD}
Header = tuple[bytes, bytes | None]


class Name(str):
    """The name of a header that is any bytes at all."""

    raw: bytes

    @classmethod
    def of(cls, raw: bytes) -> Name:
        made = cls(raw.hex())
        made.raw = raw
        return made

    def encode(self, *_: Any) -> bytes:  # type: ignore[override]
        return self.raw


def batch_of(
    records: list[tuple[bytes | None, bytes | None, list[Header]]],
    offset: int = 0,
    codec: int = NONE,
) -> bytes:
    """One batch of (key, value, headers), as a broker hands it out."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 2**31 - 1)
    for n, (key, value, headers) in enumerate(records):
        named = [(Name.of(name), told) for name, told in headers]
        builder.append(n, 1_700_000_000_000, key, value, named)
    built = bytearray(builder.build())
    built[:8] = offset.to_bytes(8, "big")
    return bytes(built)


class Lying:
    """A consumer of topics that hold these bytes, in partition 0 of each."""

    DEFAULT_CONFIG = kafka.KafkaConsumer.DEFAULT_CONFIG

    def __init__(self, topics: dict[str, bytes]) -> None:
        self._fetcher = Fetcher.__new__(Fetcher)
        self._topics = topics
        self._polled: deque[tuple[Any, list[Any]]] = deque()
        self.committed: dict[Any, Any] = {}

    def subscribe(self, topics: list[str]) -> None:
        for name in topics:
            place = TopicPartition(name, 0)
            records = self._fetcher.PartitionRecords(
                0, place, MemoryRecords(self._topics.get(name, b"")), isolation_level=1
            )
            self._polled.append((place, records))

    def poll(self, _: int) -> dict[Any, list[Any]]:
        found = {place: records.take(500) for place, records in self._polled if records}
        return {place: taken for place, taken in found.items() if taken}

    def assignment(self) -> set[Any]:
        return {place for place, _ in self._polled}

    def paused(self) -> set[Any]:
        return set()

    def resume(self, *_: Any) -> None:
        pass

    def pause(self, *_: Any) -> None:
        pass

    def commit(self, offsets: dict[Any, Any], **_: Any) -> None:
        self.committed |= {place: told.offset for place, told in offsets.items()}

    def group_metadata(self) -> Any:
        class Group:
            state = MemberState.STABLE

        return Group

    def close(self, **_: Any) -> None:
        pass
