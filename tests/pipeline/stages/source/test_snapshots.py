"""Cameras that answer each request with one picture."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.pipeline.certificate import self_signed
from tests.pipeline.numbered import numbered
from tests.pipeline.stages.source.cameras import (
    QUICK,
    http_camera,
    mjpeg,
    open_files,
    replies,
    threads,
    until,
    watch,
)

Request = BaseHTTPRequestHandler


class Camera:
    """Answers with the next numbered picture; keeps its connections where it is told to."""

    def __init__(self, suffix: str = ".jpg", kind: str | None = "image/jpeg", etag: bool = False):
        self.suffix, self.kind, self.etag = suffix, kind, etag
        self.asked: list[float] = []
        self.lines: set[int] = set()
        self.still = False
        self.number = 0
        self.unchanged = 0

    def picture(self) -> bytes:
        return cv2.imencode(self.suffix, numbered(self.number % 256)[..., ::-1])[1].tobytes()

    def __call__(self, request: Request) -> None:
        request.protocol_version, request.close_connection = "HTTP/1.1", False
        self.asked.append(time.monotonic())
        self.lines.add(request.client_address[1])
        self.number += not self.still
        tag = f'"{self.number}"'
        if self.etag and request.headers["If-None-Match"] == tag:
            self.unchanged += 1
            request.send_response(304)
            request.end_headers()
            return
        self.send(request, self.picture(), ETag=tag)

    def send(self, request: Request, body: bytes, **headers: str) -> None:
        request.send_response(200)
        if self.kind is not None:
            request.send_header("Content-Type", self.kind)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        (".jpg", "image/jpeg"),
        (".jpg", "image/jpg; charset=binary"),
        (".jpg", None),
        (".jpg", "application/octet-stream"),
        (".png", "image/png"),
        (".webp", "image/webp"),
        (".png", "image/jpeg"),
    ],
)
def test_polled_at_the_rate_of_analysis(suffix: str, kind: str | None) -> None:
    camera = Camera(suffix, kind)
    with http_camera(camera) as url, watch(f"{url}/snap.cgi?ch=1", fps=20) as viewer:
        viewer.sees(30)
        assert viewer.source.connection_state.state == "online"
        counts = viewer.source.counts()
    assert np.median(np.diff(camera.asked)) == pytest.approx(1 / 20, abs=0.01)
    assert counts.skipped == 0
    assert viewer.numbers == [frame.index + 1 for frame in viewer.frames]
    assert np.median(np.diff([frame.pts_s for frame in viewer.frames])) == pytest.approx(1 / 20)
    assert {frame.clock for frame in viewer.frames} == {"arrival"}
    # Kept alive: 30 answers over one connection, or, of a server that hung up once, over two.
    assert len(camera.lines) <= 2 < len(camera.asked) / 10


@pytest.mark.parametrize("etag", [True, False])
def test_a_picture_that_did_not_change_is_no_frame(etag: bool) -> None:
    camera = Camera(etag=etag)
    with http_camera(camera) as url, watch(url, fps=50) as viewer:
        viewer.sees(3)
        camera.still = True
        until(lambda: len(viewer.frames) == camera.number)
        polls = len(camera.asked)
        until(lambda: len(camera.asked) > polls + 20)
        assert len(viewer.frames) == camera.number
        assert viewer.source.connection_state.state == "online"
        camera.still = False
        viewer.sees(3)
    assert bool(camera.unchanged) == etag


def digest_of(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def locked(way: str, camera: Camera) -> Callable[[Request], None]:
    """Shows its pictures to ann only."""
    challenges = {
        "basic": ['Basic realm="x"'],
        "digest": ['Digest realm="x", nonce="n", qop="auth"'],
    }
    challenges["both"] = challenges["basic"] + challenges["digest"]

    def is_ann(told: str, path: str) -> bool:
        if way == "basic":
            return told == "Basic " + base64.b64encode(b"ann:p@ss/w0rd").decode()
        if not told.startswith("Digest "):
            return False
        given = dict(part.split("=", 1) for part in told[7:].split(", "))
        given = {name: value.strip('"') for name, value in given.items()}
        secret, asked = digest_of("ann:x:p@ss/w0rd"), digest_of(f"GET:{path}")
        proof = f"{secret}:n:{given['nc']}:{given['cnonce']}:auth:{asked}"
        return given["response"] == digest_of(proof)

    def answer(request: Request) -> None:
        request.protocol_version, request.close_connection = "HTTP/1.1", False
        if is_ann(request.headers["Authorization"] or "", request.path):
            camera(request)
            return
        request.send_response(401)
        for challenge in challenges[way]:
            request.send_header("WWW-Authenticate", challenge)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


@pytest.mark.parametrize("way", ["basic", "digest", "both"])
def test_password(way: str) -> None:
    with http_camera(locked(way, Camera())) as url:
        with watch(url.replace("//", "//ann:p%40ss%2Fw0rd@") + "/a?b=1", fps=20) as viewer:
            viewer.sees(5)
        for login in ("", "ann:s3cret@", "bob:p%40ss%2Fw0rd@"):
            with watch(url.replace("//", f"//{login}"), fps=20) as viewer:
                viewer.finds("refused", "wrong user or password")
                assert "s3cret" not in repr(viewer.source.connection_state)


def test_a_password_stays_with_its_host() -> None:
    told: list[str | None] = []

    def there(request: Request) -> None:
        told.append(request.headers["Authorization"])
        replies(401, **{"WWW-Authenticate": 'Basic realm="x"'})(request)

    with http_camera(there) as other, http_camera(replies(302, Location=other)) as url:
        address = url.replace("//", "//ann:s3cret@")
        with watch(address.replace("127.0.0.1", "localhost")) as viewer:
            viewer.finds("refused", "wrong user or password")
    assert set(told) == {None}


def test_a_redirect_to_the_pictures() -> None:
    with (
        http_camera(Camera()) as there,
        http_camera(replies(302, Location=f"{there}/now.jpg")) as url,
        watch(url, fps=20) as viewer,
    ):
        viewer.sees(3)


def test_redirects_in_a_circle() -> None:
    with http_camera(replies(302, Location="/again")) as url, watch(url) as viewer:
        viewer.finds("refused", "it redirects elsewhere")


@pytest.mark.needs("openssl")
def test_over_tls(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    trusting = QUICK.model_copy(update={"ca_file": str(certificate)})
    with http_camera(Camera(), certificate) as url:
        with watch(url, trusting, fps=20) as viewer:
            viewer.sees(3)
        with watch(url, fps=20) as viewer:
            viewer.finds("refused", "certificate is not trusted (self-signed certificate)")


@pytest.mark.parametrize(
    ("answer", "state", "reason"),
    [
        (replies(401), "refused", "wrong user or password"),
        (replies(503), "offline", "an internal error"),
        (replies(200, b"<html>", **{"Content-Type": "text/html"}), "refused", "not a video"),
    ],
)
def test_it_fails_and_comes_back(
    answer: Callable[[Request], None], state: str, reason: str
) -> None:
    camera = Camera()
    does: list[Callable[[Request], None]] = [camera]
    with http_camera(lambda request: does[0](request)) as url, watch(url, fps=20) as viewer:
        viewer.sees(3)
        does[0] = answer
        viewer.finds(state, reason)
        does[0] = camera
        viewer.finds("online")
        viewer.sees(3)
        assert viewer.source.counts().reconnects >= 1
    assert np.all(np.diff([frame.pts_s for frame in viewer.frames]) > 0)


def test_one_that_is_silent() -> None:
    camera = Camera()

    def answer(request: Request) -> None:
        camera(request)
        if len(camera.asked) == 5:
            time.sleep(QUICK.read_timeout_s + 0.5)

    with http_camera(answer) as url, watch(url, fps=20) as viewer:
        viewer.finds("offline", "no frame for 1 s")
        viewer.finds("online")


def test_every_answer_is_accounted_for() -> None:
    """Every third one is cut, though it is as long as it says."""
    camera = Camera()
    whole = camera.picture

    def picture() -> bytes:
        return whole()[:30] + bytes([camera.number]) if camera.number % 3 == 0 else whole()

    camera.picture = picture  # type: ignore[method-assign]
    with http_camera(camera) as url, watch(url, fps=50) as viewer:
        viewer.sees(20)
        viewer.source.close()
        counts = viewer.source.counts()
    assert abs(counts.received - camera.number) <= 1
    assert abs(counts.shed["undecodable"] - counts.received // 3) <= 1
    assert counts.received == len(viewer.frames) + counts.skipped + sum(counts.shed.values())


def test_never_a_picture() -> None:
    camera = Camera()
    camera.picture = lambda: b"\xff\xd8\xff" + bytes([camera.number % 256])  # type: ignore[method-assign]
    hasty = QUICK.model_copy(update={"open_timeout_s": 0.5})
    with http_camera(camera) as url, watch(url, hasty, fps=50) as viewer:
        viewer.finds("refused", "cannot be decoded")


def test_a_picture_of_absurd_size() -> None:
    def answer(request: Request) -> None:
        replies(200, **{"Content-Type": "image/jpeg"})(request)
        request.wfile.write(b"\xff\xd8\xff\xe0")
        for _ in range(100):
            request.wfile.write(bytes(1 << 20))

    with http_camera(answer) as url, watch(url) as viewer:
        viewer.finds("refused", "it sends data without end")


def test_pictures_one_after_another_without_a_boundary() -> None:
    """Raw MJPEG, which begins as a snapshot does, is a stream."""

    def answer(request: Request) -> None:
        replies(200, **{"Content-Type": "image/jpeg"})(request)
        for number in range(200):
            request.wfile.write(cv2.imencode(".jpg", numbered(number)[..., ::-1])[1].tobytes())
            time.sleep(0.04)

    with http_camera(answer) as url, watch(url) as viewer:
        viewer.sees(10)
        assert viewer.source.connection_state.state == "online"
        assert viewer.source.counts().reconnects == 0


@pytest.mark.parametrize("length", [True, False])
def test_mjpeg_without_a_first_boundary(length: bool) -> None:
    def answer(request: Request) -> None:
        kind = "multipart/x-mixed-replace; boundary=next"
        replies(200, **{"Content-Type": kind})(request)
        for number in range(200):
            image = cv2.imencode(".jpg", numbered(number)[..., ::-1])[1].tobytes()
            head = f"Content-Length: {len(image)}\r\n" if length else ""
            head = f"Content-Type: image/jpeg\r\n{head}\r\n"
            request.wfile.write(head.encode() + image + b"\r\n--next\r\n")
            time.sleep(0.04)

    with http_camera(answer) as url, watch(url) as viewer:
        viewer.sees(30)
        assert viewer.source.connection_state.state == "online"
    assert viewer.numbers == [frame.index for frame in viewer.frames]


def test_closing_leaves_nothing_behind() -> None:
    before = open_files(), threads()
    slow = Camera()
    with http_camera(slow) as url, watch(url, fps=0.1) as viewer:
        viewer.sees(1)
        begin_s = time.monotonic()
        viewer.source.close()
        assert time.monotonic() - begin_s < 1
    # What earlier tests left may go meanwhile.
    until(lambda: open_files() <= before[0] and threads() <= before[1], 2)


def test_a_stream_is_asked_for_once_again_only_when_it_was_refused() -> None:
    asked: list[str] = []

    def answer(request: Request) -> None:
        asked.append(request.headers["User-Agent"])
        mjpeg(request, pictures=3, fps=50)

    hasty = QUICK.model_copy(update={"retry_min_s": 0.01, "retry_max_s": 0.02})
    with http_camera(partial(answer)) as url, watch(url, hasty) as viewer:
        until(lambda: viewer.source.counts().reconnects >= 3)
    assert asked.count("undercam") == 1
