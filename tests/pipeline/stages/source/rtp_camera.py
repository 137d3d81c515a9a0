"""An RTSP camera on loopback that lies as it is told to: about time, pictures and its own answer.

It serves numbered pictures in H.264 without B frames, over TCP, for ever. Every viewer gets them
from number 0 at its own PLAY.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache

import av
from av.video.codeccontext import VideoCodecContext

from tests.pipeline.numbered import numbered

NTP_S = 2_208_988_800
SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
    "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:v\r\n"
)
MTU, PERIOD, LOOP = 1400, 90_000, 250


@dataclass(frozen=True)
class Lies:
    """What the camera does with its picture number n.

    `stamp_s` is added to its RTP stamp, `report_s` to the wall time of a sender report, which comes
    before every picture for which `reports`; `alters` changes its bytes, None leaves it out.
    """

    stamp_s: Callable[[int], float] = lambda n: 0.0
    report_s: Callable[[int], float] = lambda n: 0.0
    reports: Callable[[int], bool] = lambda n: n % 10 == 0
    alters: Callable[[int, bytes], bytes | None] = lambda n, unit: unit
    base: int = 0
    """The first RTP stamp."""
    fps: float = 25.0
    pictures: int = 1 << 30
    """How many there are, before it hangs up."""


@cache
def units(loop: int = LOOP, gop: int = 10) -> list[bytes]:
    """Encoded pictures, one access unit each, a key frame in every `gop`."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.height, encoder.width, _ = numbered(0).shape
    encoder.pix_fmt, encoder.framerate = "yuv420p", 25  # type: ignore[assignment]
    encoder.options = {
        "bf": "0",
        "g": str(gop),
        "sc_threshold": "0",
        "preset": "ultrafast",
        "x264-params": "repeat-headers=1:rc-lookahead=0:sync-lookahead=0:threads=1",
    }
    found = []
    for number in range(loop):
        frame = av.VideoFrame.from_ndarray(numbered(number % 256), format="rgb24")
        frame.pts = number
        found += [bytes(packet) for packet in encoder.encode(frame)]
    return found + [bytes(packet) for packet in encoder.encode(None)]


@contextmanager
def rtp_camera(lies: Lies | None = None, sdp: Iterator[bytes] | None = None) -> Iterator[str]:
    """Serve on a free port; gives the address. `sdp`: what it describes itself by, instead."""
    server = socket.create_server(("127.0.0.1", 0))
    sockets = [server]

    def accept() -> None:
        with suppress(OSError):
            while True:
                viewer, _ = server.accept()
                sockets.append(viewer)
                args = (viewer, lies or Lies(), sdp)
                threading.Thread(target=_serve, args=args, daemon=True).start()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"rtsp://127.0.0.1:{server.getsockname()[1]}/live"
    finally:
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        thread.join()


def _serve(viewer: socket.socket, lies: Lies, sdp: Iterator[bytes] | None) -> None:
    with suppress(OSError), viewer.makefile("rb") as lines:
        while line := lines.readline():
            if line.startswith(b"$"):
                continue
            verb, head = line.split()[0].decode(), {}
            while text := lines.readline().strip():
                name, _, value = text.decode().partition(":")
                head[name.lower()] = value.strip()
            reply = ["RTSP/1.0 200 OK", f"CSeq: {head['cseq']}", "Session: 1"]
            body = SDP if verb == "DESCRIBE" else ""
            if verb == "SETUP":
                reply.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
            if body and sdp:
                reply += ["Content-Type: application/sdp", f"Content-Length: {1 << 30}", "", ""]
                viewer.sendall("\r\n".join(reply).encode())
                for part in sdp:
                    viewer.sendall(part)
                return
            if body:
                reply += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
            viewer.sendall("\r\n".join([*reply, "", body]).encode())
            if verb == "PLAY":
                threading.Thread(target=_play, args=(viewer, lies), daemon=True).start()


def _play(viewer: socket.socket, lies: Lies) -> None:
    begin_s, sequence, number = time.monotonic(), 0, 0
    wall_s = time.time()
    with suppress(OSError):
        while number < lies.pictures:
            due_s = number / lies.fps
            time.sleep(max(0.0, begin_s + due_s - time.monotonic()))
            if lies.reports(number):
                viewer.sendall(_report(lies, number, due_s, wall_s + due_s))
            unit = lies.alters(number, units()[number % LOOP])
            stamp = lies.base + round((due_s + lies.stamp_s(number)) * PERIOD)
            parts = list(_payloads(unit)) if unit is not None else []
            for part in parts:
                kind = 96 | (0x80 if part is parts[-1] else 0)
                packet = struct.pack(">BBHII", 0x80, kind, sequence & 0xFFFF, stamp % 2**32, 7)
                viewer.sendall(struct.pack(">cBH", b"$", 0, 12 + len(part)) + packet + part)
                sequence += 1
            number += 1
        viewer.shutdown(socket.SHUT_RDWR)


def _report(lies: Lies, number: int, due_s: float, wall_s: float) -> bytes:
    now_s = wall_s + NTP_S + lies.report_s(number)
    stamp = (lies.base + round(due_s * PERIOD)) % 2**32
    wall = int(now_s) % 2**32, int(now_s % 1 * 2**32)
    report = struct.pack(">BBHIIIIII", 0x80, 200, 6, 7, *wall, stamp, number, number)
    return struct.pack(">cBH", b"$", 1, len(report)) + report


def _payloads(unit: bytes) -> Iterator[bytes]:
    for nal in unit.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1"):
        if 0 < len(nal) <= MTU:
            yield nal
        elif nal:
            head, body = nal[0], nal[1:]
            for at in range(0, len(body), MTU):
                ends = (0x80 if at == 0 else 0) | (0x40 if at + MTU >= len(body) else 0)
                yield bytes([head & 0xE0 | 28, ends | head & 31]) + body[at : at + MTU]
