"""Cameras to test on: a real RTSP server, cameras that speak HTTP, and someone who looks."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import cv2

from pipeline.frames import ConnectionState, FrameHeader
from pipeline.settings import SourceSettings
from pipeline.stages.source.live import LiveSource
from tests.pipeline.numbered import number_of, numbered

HERE = Path(__file__).parent
PATIENCE_S = 20.0
QUICK = SourceSettings(open_timeout_s=5, read_timeout_s=1, retry_min_s=0.1, retry_max_s=0.4)
"""What a person would find too hasty, and a test does not want to wait for."""


def until(condition: Callable[[], Any], seconds: float = PATIENCE_S) -> float:
    """Wait until it is so; how long it took, seconds."""
    begin_s = time.monotonic()
    while not condition():
        assert time.monotonic() - begin_s < seconds, "it did not come to pass"
        time.sleep(0.01)
    return time.monotonic() - begin_s


class RtspCamera:
    """The server of rtsp_server.py in a process of its own."""

    def __init__(self, clip: Path, *options: str) -> None:
        self._command = ["/usr/bin/python3", str(HERE / "rtsp_server.py"), str(clip), *options]
        self._process: subprocess.Popen[str] | None = None
        self.port = 0
        self.taken_ms: dict[int, int] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Serve, at the same port as before."""
        process = subprocess.Popen(
            [*self._command, "--port", str(self.port)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        self._process, self.port = process, int(process.stdout.readline())
        self._listener = threading.Thread(target=self._listen, args=(process.stdout,))
        self._listener.start()

    def _listen(self, lines: Any) -> None:
        with lines:
            for line in lines:
                number, at_ms = line.split()
                self.taken_ms[int(number)] = int(at_ms)

    def kill(self) -> None:
        """As if its power went."""
        assert self._process
        self._process.kill()
        self._process.wait()
        self._listener.join()

    def freeze(self) -> None:
        """It stands still, and its connections stay open."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def url(self, mount: str, login: str = "") -> str:
        return f"rtsp://{login}127.0.0.1:{self.port}/{mount}"


class Viewer:
    """Iterates a source in a thread and keeps what it sees; `pause_s` passes at each frame."""

    def __init__(self, source: LiveSource, pause_s: float = 0.0) -> None:
        self.source, self._pause_s = source, pause_s
        self.frames: list[FrameHeader] = []
        self.numbers: list[int] = []
        self.links: list[ConnectionState] = []
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the source; whatever went wrong in the thread is raised."""
        self.source.close()
        self._thread.join()
        if self._fault:
            raise self._fault

    def _look(self) -> None:
        try:
            for seen in self.source:
                if isinstance(seen, ConnectionState):
                    self.links.append(seen)
                else:
                    self.frames.append(seen.header)
                    self.numbers.append(number_of(seen.image))
                    time.sleep(self._pause_s)
        except Exception as error:  # noqa: BLE001 - raised where the viewer is left
            self._fault = error

    def sees(self, frames: int) -> None:
        """Wait for so many more frames."""
        seen = len(self.frames)
        until(lambda: self._fault or len(self.frames) >= seen + frames)

    def finds(self, state: str, reason: str = "") -> float:
        """Wait until the link is in a state; how long it took, seconds."""
        seen: list[ConnectionState] = []

        def found() -> bool:
            seen.append(self.source.connection_state)
            return seen[-1].state == state and reason in seen[-1].reason

        try:
            return until(found)
        except AssertionError as error:
            raise AssertionError(f"expected {state} {reason}, got {set(seen)}") from error


def watch(url: str, settings: SourceSettings = QUICK, fps: float = 0.0, **given: Any) -> Viewer:
    """Someone who looks at a camera."""
    pause_s = given.pop("pause_s", 0.0)
    settings = settings.model_copy(update={"analyse_fps": fps})
    return Viewer(LiveSource(url, "door", "e1", settings, **given), pause_s)


Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def http_camera(answer: Answer, certificate: Path | None = None) -> Iterator[str]:
    """A server on loopback; `answer` does as it likes with each request. Gives its address; with
    a certificate, whose key lies beside it, it speaks TLS."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(ConnectionError):
                answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    scheme = "http"
    if certificate:
        scheme, context = "https", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.parent / "both.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"{scheme}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def mjpeg(
    request: BaseHTTPRequestHandler, pictures: int, fps: float, jpeg: bytes | None = None
) -> None:
    """Numbered pictures, or always the same, as many a camera sends them; then it hangs up."""
    request.send_response(200)
    request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
    request.end_headers()
    for number in range(pictures):
        image = jpeg or cv2.imencode(".jpg", numbered(number % 256)[..., ::-1])[1].tobytes()
        head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(image)}\r\n\r\n"
        request.wfile.write(head.encode() + image + b"\r\n")
        time.sleep(1 / fps)


def replies(status: int, body: bytes = b"", **headers: str) -> Answer:
    """A server that says always the same."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return answer


@contextmanager
def pushing(url: str, pictures: int = 250) -> Iterator[subprocess.Popen[bytes]]:
    """A camera that calls, in a process of its own; it calls again until it is heard."""
    command = [sys.executable, "-m", "tests.pipeline.stages.source.pusher", url, str(pictures)]
    with subprocess.Popen(command, cwd=HERE.parents[3]) as process:
        try:
            yield process
        finally:
            process.kill()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def threads() -> int:
    """All of the process, those of libraries too."""
    return len(os.listdir("/proc/self/task"))
