"""Batches of a topic, parsed so that nothing in one stops the consumer.

The client raises at a record whose header is not UTF-8, and at a batch that cannot be unpacked; the
next poll meets the same place again, for ever. Here such a record comes out like any other, its
headers `Unreadable`, and the consumer goes on behind it.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from typing import Any

from kafka import codec
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecord, DefaultRecordBatch
from kafka.record.util import decode_varint

UNPACKED_BYTES = 64 * 2**20
"""The largest batch that is unpacked: a kilobyte on the wire may be gigabytes in memory."""
_DAMAGED_RECORDS = 1_000_000
"""The most offsets that a damaged batch is believed to span."""
_MODERN = 2
"""The format of batches since Kafka 0.11; older ones have no headers."""


class Unreadable(list[Any]):
    """In place of the headers of a record that cannot be read."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


def tolerate_damage(consumer: Any) -> None:
    """Let no record stop this consumer of the vendor's."""
    consumer._fetcher.PartitionRecords = _Records


class _Records(Fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of one response of a broker."""

    def _unpack_records(self, place: Any, batches: Any, *deserializers: Any) -> Any:
        return super()._unpack_records(place, _Batches(batches), *deserializers)


class _Batches:
    """The source that the client reads batches from."""

    def __init__(self, batches: Any) -> None:
        self._batches = batches

    def next_batch(self) -> Any:
        batch = self._batches.next_batch()
        is_modern = batch is not None and batch.magic == _MODERN
        return _Batch(batch._buffer) if is_modern else batch


class _Batch(DefaultRecordBatch):  # type: ignore[misc]
    """One batch; what cannot be read of it comes out as one unreadable record."""

    _buffer: bytearray
    _pos: int
    _decompressed: bool

    def __init__(self, buffer: bytearray) -> None:
        super().__init__(buffer)
        self._fault = ""
        self._next_offset = self.base_offset

    @property
    def is_control_batch(self) -> bool:
        return bool(super().is_control_batch) and not self._fault

    @property
    def last_offset_delta(self) -> int:
        delta: int = super().last_offset_delta
        return min(max(delta, 0), _DAMAGED_RECORDS) if self._fault else delta

    def validate_crc(self) -> bool:
        if not super().validate_crc():
            self._mark_damaged("its checksum is wrong")
        return True

    def __next__(self) -> Any:
        if self._next_record_index >= self._num_records:
            raise StopIteration
        return super().__next__()

    def _maybe_uncompress(self) -> None:
        kind = self.compression_type
        if self._decompressed or kind == self.CODEC_NONE:
            self._decompressed = True
            return
        self._assert_has_codec(kind)
        self._decompressed = True
        try:
            unpacked = _unpack(kind, bytes(self._buffer[self._pos :]))
        except _codec_errors() as error:
            self._mark_damaged(f"it cannot be unpacked ({error})")
        else:
            self._buffer, self._pos = bytearray(unpacked), 0

    def _mark_damaged(self, fault: str) -> None:
        """From here on the batch is one record, whatever its header counts."""
        self._fault = fault
        self._num_records = self._next_record_index + 1
        self._decompressed = True

    def _read_msg(self, *_: Any) -> Any:
        if not self._fault:
            try:
                return self._note_offset(self._read_record())
            except (CorruptRecordError, ValueError, IndexError, TypeError, struct.error) as error:
                self._mark_damaged(f"it is damaged ({error})")
        rest = bytes(self._buffer[self._pos :])
        self._pos = len(self._buffer)
        return _Unread(self._next_offset, None, rest, f"batch cannot be read: {self._fault}")

    def _read_record(self) -> Any:
        try:
            return super()._read_msg()
        except UnicodeDecodeError:
            return self._without_headers()

    def _note_offset(self, record: Any) -> Any:
        self._next_offset = record.offset + 1
        return record

    def _without_headers(self) -> Any:
        """The next record without its headers, which are not UTF-8."""
        whole, begin = self._buffer, self._pos
        length, body = decode_varint(whole, begin)
        self._buffer, self._pos = _LenientText(whole[begin : body + length]), 0
        try:
            record = super()._read_msg()
        finally:
            self._buffer, self._pos = whole, begin
        self._pos = body + length
        return _Unread(record.offset, record.key, record.value, "name of a header is not UTF-8")


class _LenientText(bytearray):
    """Bytes that decode as text whatever they are."""

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return _LenientText(part) if isinstance(index, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, "replace")


class _Unread(DefaultRecord):  # type: ignore[misc]
    """A record, or the rest of a batch, that cannot be read as one."""

    abort = False

    def __init__(self, offset: int, key: bytes | None, value: bytes | None, reason: str) -> None:
        super().__init__(len(value or b""), offset, -1, 0, key, value, Unreadable(reason))


def _unpack(kind: int, packed: bytes) -> bytes:
    """The bytes of a batch; raises one of `_codec_errors` where they are damaged or too many."""
    match kind:
        case DefaultRecordBatch.CODEC_SNAPPY:  # a byte becomes twenty at most
            return bytes(codec.snappy_decode(packed))
        case DefaultRecordBatch.CODEC_GZIP:
            reader: Any = gzip.GzipFile(fileobj=io.BytesIO(packed))
        case DefaultRecordBatch.CODEC_LZ4:
            reader = codec.lz4.open(io.BytesIO(packed))
        case _:
            zstd = codec.zstd.ZstdDecompressor()
            reader = zstd.stream_reader(io.BytesIO(packed), read_across_frames=True)
    with reader:
        unpacked: bytes = reader.read(UNPACKED_BYTES + 1)
    if len(unpacked) > UNPACKED_BYTES:
        raise ValueError(f"{len(packed)} bytes become more than {UNPACKED_BYTES}")
    return unpacked


def _codec_errors() -> tuple[type[Exception], ...]:
    """The errors that the installed codecs raise at damaged bytes."""
    known = (OSError, EOFError, ValueError, IndexError, RuntimeError, struct.error, zlib.error)
    zstd = (codec.zstd.ZstdError,) if codec.zstd else ()
    snappy = (codec.snappy.UncompressError,) if codec.snappy else ()
    return (*known, *zstd, *snappy)
