"""Live cameras that speak HTTP, and cameras that call: what pip alone can play."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.stages.source.cameras import (
    QUICK,
    http_camera,
    mjpeg,
    open_files,
    pushing,
    replies,
    threads,
    until,
    watch,
)

Encode = Callable[..., Path]
HTML = b"<html>" + b"hello " * 10_000
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://%s\n#EXT-X-ENDLIST\n"


def test_mjpeg_by_the_time_of_arrival() -> None:
    """Its pictures carry no time: FFmpeg would say 25 a second whatever the camera does."""
    with http_camera(partial(mjpeg, pictures=200, fps=10)) as url, watch(f"{url}/video") as viewer:
        viewer.sees(20)
        assert viewer.source.connection_state.state == "online"
    assert viewer.numbers == [frame.index for frame in viewer.frames]
    steps = np.diff([frame.pts_s for frame in viewer.frames])
    assert 0.09 < np.median(steps) < 0.13
    assert {frame.clock for frame in viewer.frames} == {"arrival"}


@pytest.mark.parametrize("name", ["clip.ts", "clip.mkv"])
def test_other_streams(encode: Encode, name: str) -> None:
    clip = encode(name, 100).read_bytes()

    def answer(request: BaseHTTPRequestHandler) -> None:
        replies(200)(request)
        for begin in range(0, len(clip), 2000):
            request.wfile.write(clip[begin : begin + 2000])
            time.sleep(0.02)

    with http_camera(answer) as url, watch(url) as viewer:
        until(lambda: viewer.source.counts().reconnects >= 2)
    assert np.all(np.diff([frame.index for frame in viewer.frames]) > 0)
    assert np.all(np.diff([frame.pts_s for frame in viewer.frames]) > 0)
    first = dict(zip((frame.index for frame in viewer.frames), viewer.numbers, strict=True))
    assert all(number == index for index, number in first.items() if index < 90)


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [
        (401, "refused", "wrong user or password"),
        (403, "refused", "allow this user"),
        (404, "refused", "no stream at this path"),
        (410, "refused", "correct its url"),
        (503, "offline", "an internal error"),
    ],
)
def test_what_a_server_answers(status: int, state: str, reason: str) -> None:
    with http_camera(replies(status)) as url, watch(f"{url}/video?token=s3cret") as viewer:
        viewer.finds(state, reason)
        assert "s3cret" not in viewer.source.connection_state.reason


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("body", [HTML, b"", PLAYLIST, b"ffconcat version 1.0\nfile %s\n"])
def test_what_is_no_video(encode: Encode, body: bytes, length: bool) -> None:
    """Neither text, nor a list that leads to a file of this machine."""
    clip = encode("clip.ts", 50)
    body = body.replace(b"%s", str(clip).encode())
    headers = {"Content-Length": str(len(body))} if length else {}
    answer = replies(200, body, **headers, **{"Content-Type": "application/vnd.apple.mpegurl"})
    with http_camera(answer) as url, watch(f"{url}/list.m3u8") as viewer:
        viewer.finds("refused", "it redirects elsewhere" if b"file" in body else "not a video")
    assert viewer.frames == []


@pytest.mark.parametrize("place", ["file://{}", "rtsp://127.0.0.1:9/x", "tcp://127.0.0.1:9"])
def test_a_redirect_stays_within_http(encode: Encode, place: str) -> None:
    clip = encode("clip.ts", 50)
    answer = replies(302, Location=place.format(clip))
    with http_camera(answer) as url, watch(url) as viewer:
        viewer.finds("refused", "it redirects elsewhere")
    assert viewer.frames == []


def test_a_redirect_to_another_camera() -> None:
    video = partial(mjpeg, pictures=200, fps=25)
    with (
        http_camera(video) as there,
        http_camera(replies(302, Location=there)) as url,
        watch(url) as viewer,
    ):
        viewer.sees(3)


def test_packets_that_are_no_pictures() -> None:
    """A stream goes on and on, and nothing in it can be decoded."""
    settings = QUICK.model_copy(update={"open_timeout_s": 1.0})
    junk = partial(mjpeg, pictures=1000, fps=50, jpeg=b"\xff\xd8\xff\xe0" + bytes(2000))
    with http_camera(junk) as url, watch(url, settings) as viewer:
        viewer.finds("refused", "cannot be decoded")
    assert viewer.source.counts().decoded == 0


def test_a_server_that_stops_sending() -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        mjpeg(request, pictures=25, fps=25)
        request.connection.recv(1)  # until the other side hangs up

    with http_camera(answer) as url, watch(url) as viewer:
        viewer.sees(4)
        assert viewer.finds("offline", "no frame for 1 s") < QUICK.read_timeout_s + 1
        assert viewer.source.connection_state.state == "offline"


def test_fifty_reconnects_leave_nothing_behind() -> None:
    hasty = QUICK.model_copy(update={"retry_min_s": 0.01, "retry_max_s": 0.02})
    with http_camera(partial(mjpeg, pictures=3, fps=100)) as url, watch(url, hasty) as viewer:
        until(lambda: viewer.source.counts().reconnects >= 5)
        files, tasks = open_files(), threads()
        until(lambda: viewer.source.counts().reconnects >= 55)
        # One connection more or less, with the server's thread for it.
        assert abs(open_files() - files) <= 4
        assert abs(threads() - tasks) <= 2
        assert viewer.source.counts().decoded >= 50


def test_a_camera_that_calls(free_port: int) -> None:
    url = f"listen://127.0.0.1:{free_port}/door"
    settings = QUICK.model_copy(update={"open_timeout_s": 1.0})
    with watch(url, settings) as viewer:
        viewer.finds("offline", "no camera has connected yet")
        for calls in range(2):
            with pushing(url.replace("listen", "rtsp"), 60) as camera:
                viewer.finds("online")
                viewer.sees(10)
                camera.wait()
            viewer.finds("offline")
            assert viewer.source.counts().reconnects == calls
        assert viewer.source.counts().decoded >= 40
    assert viewer.numbers[:5] == [frame.index for frame in viewer.frames[:5]]
    assert viewer.frames[-1].clock == "rtcp"
    assert abs(viewer.frames[-1].captured_ms - viewer.frames[-1].received_ms) < 500


def test_one_port_takes_one_listener(free_port: int) -> None:
    url = f"listen://127.0.0.1:{free_port}/door"
    with watch(url) as one, watch(url) as other:
        links = [viewer.source for viewer in (one, other)]
        taken = "cannot listen there (Address already in use)"
        until(lambda: any(taken in source.connection_state.reason for source in links))


def test_closing_while_nobody_calls(free_port: int) -> None:
    before = open_files(), threads()
    with watch(
        f"listen://127.0.0.1:{free_port}/door", QUICK.model_copy(update={"open_timeout_s": 60})
    ) as viewer:
        until(lambda: open_files() > before[0])
        begin_s = time.monotonic()
        viewer.source.close()
        assert time.monotonic() - begin_s < 1
        until(lambda: (open_files(), threads()) == before, 1)
