"""Cameras over a real connection that lie: about time, about pictures, about how much they say."""

from __future__ import annotations

import random
import resource
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest

from tests.pipeline.stages.source.cameras import QUICK, http_camera, mjpeg, until, watch
from tests.pipeline.stages.source.rtp_camera import SDP, Lies, rtp_camera, units

HASTY = 100.0


@pytest.mark.parametrize(
    "lies",
    [
        Lies(lambda n: -9800.0 if n % 50 == 49 else 0.0, fps=HASTY),
        Lies(lambda n: 3.0 if n % 20 == 19 else 0.0, fps=HASTY),
        Lies(lambda n: 7.2e4 * (n % 9) - 3e5 if 100 < n < 150 else 0.0, fps=HASTY),
        Lies(report_s=lambda n: 7200.0 if 100 < n < 150 else 0.0, fps=HASTY),
        Lies(base=2**32 - 90_000, fps=HASTY),
        Lies(base=2**31 - 90_000, fps=HASTY),
    ],
    ids=["outlier", "small outlier", "burst", "report", "wrap", "sign"],
)
def test_the_cameras_clock_outlasts_its_lies(lies: Lies) -> None:
    with rtp_camera(lies) as url, watch(url) as viewer:
        viewer.sees(250)
    frames = viewer.frames
    assert viewer.source.counts().reconnects == 0
    assert {frame.clock for frame in frames} == {"rtcp"}
    late_ms = np.array([frame.received_ms - frame.captured_ms for frame in frames])
    assert np.median(late_ms) < 200
    assert late_ms.min() > -50
    assert np.all(np.diff([frame.captured_ms for frame in frames]) >= 0)
    assert np.all(np.diff([frame.index for frame in frames]) > 0)
    times = np.array([frame.pts_s for frame in frames])
    np.testing.assert_allclose(times, [frame.index / HASTY for frame in frames], atol=0.2)


def test_a_camera_whose_clock_is_off_stays_so() -> None:
    lies = Lies(lambda n: -9800.0 if n % 50 == 49 else 0.0, lambda n: 9800.0, fps=HASTY)
    with rtp_camera(lies) as url, watch(url) as viewer:
        viewer.sees(150)
    assert {frame.clock for frame in viewer.frames} == {"arrival"}


def cut(number: int, unit: bytes) -> bytes:
    return unit[: len(unit) // 2]


def junk(number: int, unit: bytes) -> bytes:
    return unit[:10] + random.Random(number).randbytes(400).replace(b"\0", b"\1")


@pytest.mark.parametrize(
    ("alters", "least", "most"),
    [
        (lambda n, unit: unit, 0, 0),
        (lambda n, unit: unit if n >= 15 else units()[n % 9 + 1], 15, 20),
        (lambda n, unit: junk(n, unit) if n % 10 == 5 else unit, 5, 30),
        (lambda n, unit: cut(n, unit) if n % 10 == 5 else unit, 1, 60),
        (lambda n, unit: None if n % 10 == 0 and n else unit, 0, 100),
    ],
    ids=["good", "joined late", "junk", "cut", "key frames lost"],
)
def test_every_picture_that_came_is_accounted_for(
    alters: Callable[[int, bytes], bytes | None], least: int, most: int
) -> None:
    total = 100
    lies = Lies(alters=alters, pictures=total, fps=50)
    left_out = sum(alters(n, units()[n]) is None for n in range(total))
    with rtp_camera(lies) as url, watch(url, fps=10) as viewer:
        viewer.finds("offline")
        source = viewer.source
        until(lambda: source.connection_state.state == "offline" and source._waiting is None)
        counts = source.counts()
        undecodable = counts.shed.get("undecodable", 0)
        assert counts.received == total - left_out
        assert least <= undecodable <= most
        assert counts.decoded == counts.received - undecodable
        assert counts.skipped > 0
        until(
            lambda: (
                counts.received == len(viewer.frames) + counts.skipped + sum(counts.shed.values())
            )
        )


def endless_sdp(line: bytes) -> Iterator[bytes]:
    """300 MB."""
    yield SDP.encode()
    for _ in range(300):
        yield line * ((1 << 20) // len(line))


def endless_head(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.flush_headers()
    for _ in range(300):
        request.wfile.write(b"X-Filler: 0123456789\r\n" * 50_000)


def endless_picture(request: BaseHTTPRequestHandler) -> None:
    mjpeg(request, pictures=5, fps=25)
    request.wfile.write(b"--next\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8\xff\xe0")
    for _ in range(300):
        request.wfile.write(bytes(1 << 20))


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize("line", [b"a=x:0123456789\r\n", b"m=video 0 RTP/AVP 96\r\n", b"\0"])
def test_a_description_without_end(line: bytes) -> None:
    before = peak_mb()
    with rtp_camera(sdp=endless_sdp(line)) as url, watch(url) as viewer:
        viewer.finds("refused", "it sends data without end but no frame")
    assert peak_mb() - before < 200


@pytest.mark.parametrize("answer", [endless_head, endless_picture])
def test_an_answer_without_end(answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
    before = peak_mb()
    with http_camera(partial(answer)) as url, watch(url, QUICK) as viewer:
        viewer.finds("refused", "it sends data without end but no frame")
    assert peak_mb() - before < 200
