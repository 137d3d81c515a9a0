"""Which packets of a live camera need not be decoded, as their frames would be skipped anyway.

Only a packet that no other frame needs may be left out: one of a frame that is no reference of
others; any, where each frame stands for itself (MJPEG); and all up to the next key frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from av.packet import Packet

from pipeline.stages.frame_sampler import FrameSampler

SURPLUS = 2.0
"""So many times as many frames as are analysed must be left: then the one that is picked is late by
half a period at most, and the rate is kept whatever the camera's is."""
MEMORY_S = 4.0
"""Seconds of the stream by which its rates are judged."""
MAX_KEY_S = 2.0
"""Longest time between two key frames of a stream of which nothing else is decoded."""
_START = b"\x00\x00\x01"
_H264_SLICES, _HEVC_SLICES = range(1, 6), range(32)


class PacketFilter:
    """Reads a stream's packets, in order, and says which are left out. `codec`: FFmpeg's name."""

    def __init__(self, codec: str, analyse_fps: float) -> None:
        self._wanted_fps = SURPLUS * analyse_fps
        self._read = _READERS.get(codec, _read_any)
        self._thin = FrameSampler(self._wanted_fps)
        # Of the last seconds: the time of each packet, whether it is a key frame, and needed.
        self._recent: deque[tuple[float, bool, bool]] = deque()
        self._highest_layer = 0
        self._only_keys = False

    def leaves_out(self, packet: Packet[Any], at_s: float) -> bool:
        """Whether the next packet need not be decoded; `at_s`: its time in decoding order."""
        if not self._wanted_fps or not packet.size:
            return False
        is_key = bool(packet.is_keyframe)
        is_needed = is_key or self._find_needed(bytes(packet))
        self._remember(at_s, is_key, is_needed)
        keys = [key_s for key_s, key, _ in self._recent if key]
        if len(keys) == len(self._recent):
            # Each frame stands for itself. A camera that sends no more than a few has all decoded.
            return self._span_s() >= MEMORY_S / 2 and not self._thin.is_due(at_s)
        if is_key:
            self._only_keys = self._are_enough(keys)
        if self._only_keys:
            return not is_key
        if is_needed or self._span_s() < MEMORY_S / 2:
            return False
        needed = sum(needed for *_, needed in self._recent)
        return needed >= self._wanted_fps * self._span_s()

    def _find_needed(self, data: bytes) -> bool:
        is_reference, layer = self._read(data)
        self._highest_layer = max(self._highest_layer, layer)
        return is_reference or layer < self._highest_layer

    def _remember(self, at_s: float, is_key: bool, is_needed: bool) -> None:
        if self._recent and not 0 <= at_s - self._recent[-1][0] < MEMORY_S:
            self._recent.clear()  # the stamps have jumped
        self._recent.append((at_s, is_key, is_needed))
        while at_s - self._recent[0][0] > MEMORY_S:
            self._recent.popleft()

    def _span_s(self) -> float:
        return self._recent[-1][0] - self._recent[0][0]

    def _are_enough(self, keys: list[float]) -> bool:
        """Whether key frames alone come often enough, the longest gap between them counted."""
        gaps = [after - before for before, after in pairwise(keys)]
        longest_s = min(1 / self._wanted_fps, MAX_KEY_S)
        return self._span_s() >= MEMORY_S / 2 and bool(gaps) and max(gaps) <= longest_s


def read_h264(data: bytes) -> tuple[bool, int]:
    """Whether the frame of an H.264 packet is a reference, and its layer, always 0 (ITU-T H.264,
    7.4.1: nal_ref_idc).

    >>> [read_h264(bytes([0, 0, 1, 9, 16, 0, 0, 1, head, 0])) for head in (0x65, 0x41, 0x01)]
    [(True, 0), (True, 0), (False, 0)]
    """
    for head in _heads(data):
        if head[0] & 31 in _H264_SLICES:
            return bool(head[0] >> 5 & 3), 0
    return True, 0


def read_hevc(data: bytes) -> tuple[bool, int]:
    """The same of H.265, where a frame may still be a reference of higher layers (ITU-T H.265,
    7.4.2.2: even types below 16).

    >>> [read_hevc(bytes([0, 0, 1, kind << 1, 1])) for kind in (19, 1, 0)]
    [(True, 0), (True, 0), (False, 0)]
    """
    for head in _heads(data):
        kind = head[0] >> 1 & 63
        if kind in _HEVC_SLICES:
            return kind >= 16 or kind % 2 == 1, max((head[1] & 7) - 1, 0)
    return True, 0


def _read_any(data: bytes) -> tuple[bool, int]:
    """Of other codecs nothing is known: any frame may be a reference."""
    return True, 0


_READERS: dict[str, Callable[[bytes], tuple[bool, int]]] = {"h264": read_h264, "hevc": read_hevc}


def _heads(data: bytes) -> Iterator[bytes]:
    """The first two bytes of each unit (NAL) behind a start code; none where units are preceded by
    their length, as in MP4."""
    at = data.find(_START, 0, 4)
    while 0 <= at < len(data) - 4:
        yield data[at + 3 : at + 5]
        at = data.find(_START, at + 3)
