"""The control interface: a real server, real sockets, and a real database behind it."""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pipeline.bus.outbox import Outbox
from pipeline.bus.relay import Relay
from pipeline.config import Settings
from pipeline.control_client import ControlClient
from pipeline.erasure import make_erasure
from pipeline.errors import ConfigError, ServiceError
from pipeline.live.control import ControlServer
from pipeline.live.control_api import MAX_BODY, ControlApi
from pipeline.live.engine import State
from pipeline.live.leases import Lease, Report
from pipeline.live.relay_service import RelayReport
from pipeline.settings import CameraSettings
from pipeline.store.engine import use_store
from pipeline.store.refusals import store_messages
from pipeline.store.registry import register
from pipeline.store.writer import StoreWriter
from tests.pipeline.bus.test_mixed_releases import release_before
from tests.pipeline.certificate import self_signed

STATE = State(
    {"door": Report(Lease("door", 1, CameraSettings(url="clip.mp4")), "online")},
    {"relay": RelayReport(waiting=3, fault="cannot reach rtsp://ann:s3cret@10.0.0.7/x")},
)


def make_settings(tmp_path: Path, **control: Any) -> Settings:
    return Settings.model_validate(
        {
            "store": {"url": f"sqlite:///{tmp_path}/rows.db", "busy_timeout_s": 1.0},
            "outbox": {"folder": str(tmp_path / "outbox")},
            "control": control,
        }
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ControlServer]:
    with ControlServer(make_settings(tmp_path), lambda: STATE) as made:
        yield made


@dataclass
class Reply:
    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def send(
    server: ControlServer,
    method: str,
    path: str,
    body: Any = None,
    **headers: str | None,
) -> Reply:
    """One request, with the right token; headers replace ours, None leaves one out."""
    ours = {"Authorization": f"Bearer {server.address.token}", "Host": None}
    where = urlsplit(server.address.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        if data is not None:
            connection.putheader("Content-Length", str(len(data)))
        for name, value in (ours | headers).items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(data)
        with connection.getresponse() as response:
            return Reply(response.status, response.headers, response.read().decode())
    finally:
        connection.close()


def test_cameras_come_change_and_go(server: ControlServer) -> None:
    put = send(server, "PUT", "/v1/cameras/door", {"url": "/dev/video0", "analyse_fps": 2.5})
    assert (put.status, put.json["is_new"]) == (201, True)
    again = send(server, "PUT", "/v1/cameras/door", {"url": "/dev/video1"})
    assert (again.status, again.json["is_new"]) == (200, False)
    assert again.json["settings"]["analyse_fps"] is None  # all of them are replaced
    patched = send(server, "PATCH", "/v1/cameras/door", {"enabled": False})
    assert patched.status == 200
    assert (patched.json["before"]["enabled"], patched.json["settings"]["enabled"]) == (True, False)
    assert patched.json["settings"]["url"] == "/dev/video1"
    listed = send(server, "GET", "/v1/cameras").json["cameras"]
    assert listed["door"].items() >= patched.json["settings"].items()
    assert listed["door"]["state"] == "disabled"
    assert send(server, "DELETE", "/v1/cameras/door").status == 200
    assert send(server, "GET", "/v1/cameras").json == {"cameras": {}}


def test_health_says_what_is_at_work_and_no_secret(server: ControlServer) -> None:
    reply = send(server, "GET", "/v1/health")
    assert (reply.status, reply.json["cameras"], reply.json["waiting"]) == (
        *(200, {"door": "online"}, 3),
    )
    assert reply.json["fault"] == "cannot reach rtsp://***@10.0.0.7/x"
    assert server.address.token not in reply.text


@pytest.mark.parametrize("path", ["/v1/health", "/v1/cameras", "/v1/none", "/"])
@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer wrong", "Bearer ", "Basic {token}", "{token}", "Bearer é"],
)
def test_without_the_token_nothing_is_told(
    server: ControlServer, path: str, header: str | None
) -> None:
    given = header and header.format(token=server.address.token)
    reply = send(server, "GET", path, Authorization=given)
    assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert reply.json["what"] == "token missing or wrong"
    assert server.address.token not in reply.text


def test_a_refused_request_changes_nothing_and_its_body_is_not_read(server: ControlServer) -> None:
    wrong = {"Authorization": "Bearer wrong"}
    reply = send(server, "PUT", "/v1/cameras/door", {"url": "a.mp4"}, **wrong)
    assert reply.status == 401
    assert send(server, "GET", "/v1/cameras").json == {"cameras": {}}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:8600", 200),
        ("LOCALHOST", 200),
        ("[::1]:8600", 200),
        ("evil.example.org", 400),
        ("127.0.0.1.evil.example.org:80", 400),
        ("[::1", 400),
        ("", 400),
    ],
)
def test_on_loopback_another_host_is_refused(server: ControlServer, host: str, status: int) -> None:
    reply = send(server, "GET", "/v1/health", Host=host)
    assert reply.status == status
    if status == 400:
        assert reply.json["what"] == "not a name of this machine"


def test_off_loopback_any_host_is_right(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, host="0.0.0.0")
    with ControlServer(settings, State, machine_address="127.0.0.2") as server:
        assert server.address.url.startswith("http://127.0.0.2:")
        assert send(server, "GET", "/v1/health", Host="cams.example.org").status == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "what"),
    [
        ("PUT", "/cameras/Door", {"url": "a.mp4"}, 400, "not a camera name"),
        ("PUT", "/cameras/door", {}, 400, "bad value for 'url'"),
        ("PUT", "/cameras/door", {"url": 7}, 400, "bad value for 'url'"),
        ("PUT", "/cameras/door", {"url": "a", "fps": 1}, 400, "bad value for 'fps'"),
        ("PUT", "/cameras/door", {"url": "gopher://x"}, 400, "unknown scheme"),
        (
            "PUT",
            "/cameras/door",
            {"url": "env:HOME"},
            400,
            "cameras may not refer to this variable",
        ),
        ("PUT", "/cameras/door", [], 400, "not a JSON object"),
        ("PUT", "/cameras/door", b"{", 400, "not a JSON object"),
        ("PUT", "/cameras/door", b"\xff", 400, "not a JSON object"),
        ("PUT", "/cameras/door", b"[" * 60_000, 400, "not a JSON object"),
        ("PUT", "/cameras/door", b" " * (MAX_BODY + 1), 413, "body too large"),
        ("PUT", "/cameras/hall?new=true", {"url": "a.mp4"}, 409, "already registered"),
        ("PATCH", "/cameras/door", {"enabled": False}, 404, "not registered"),
        ("PATCH", "/cameras/hall", {"mode": "slow"}, 400, "bad value for 'mode'"),
        ("DELETE", "/cameras/door", None, 404, "not registered"),
        ("DELETE", "/cameras/a%2Fb", None, 404, "no such resource"),
        ("POST", "/erasures", {}, 400, "nothing to erase"),
        ("POST", "/erasures", {"camera": 7}, 400, "not an erasure"),
        ("POST", "/erasures", {"camera": "hall", "before_ms": 1e3}, 400, "not an erasure"),
        ("POST", "/erasures", {"before_ms": 10**15}, 400, "not a time in the past"),
        ("POST", "/erasures", {"camera": "hall", "run": "e1"}, 400, "unknown key 'run'"),
        ("GET", "/none", None, 404, "no such resource"),
        ("DELETE", "/cameras", None, 405, "method not allowed"),
    ],
)
def test_what_is_refused_is_told_as_json(
    server: ControlServer, method: str, path: str, body: Any, status: int, what: str
) -> None:
    send(server, "PUT", "/v1/cameras/hall", {"url": "hall.mp4"})
    before = send(server, "GET", "/v1/cameras").json
    reply = send(server, method, f"/v1{path}", body)
    assert (reply.status, set(reply.json)) == (status, {"what", "where", "remedy"})
    assert what in reply.json["what"]
    assert send(server, "GET", "/v1/cameras").json == before


def test_a_credential_is_refused_as_by_the_command_and_not_repeated(
    server: ControlServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    bad = CameraSettings(url="rtsp://admin:s3cret@10.0.0.7/live")
    with use_store(f"sqlite:///{tmp_path}/rows.db") as engine, pytest.raises(ConfigError) as told:
        register(engine, "door", bad)
    client = ControlClient(server.address.url, server.address.token)
    for change in (client.put, client.change):
        client.put("door", {"url": "a.mp4"})
        with pytest.raises(ConfigError) as caught:
            change("door", {"url": bad.url})
        assert str(caught.value) == str(told.value)
        client.remove("door")
    assert "s3cret" not in send(server, "PUT", "/v1/cameras/door", {"url": bad.url}).text
    assert "s3cret" not in send(server, "GET", "/v1/rtsp://admin:s3cret@10.0.0.7/live").text
    assert (caplog.text, *capfd.readouterr()) == ("", "", "")


def test_a_credential_that_another_program_has_written_is_hidden(
    server: ControlServer, tmp_path: Path
) -> None:
    send(server, "PUT", "/v1/cameras/door", {"url": "a.mp4"})
    with sqlite3.connect(tmp_path / "rows.db") as connection:
        connection.execute(
            "UPDATE cameras SET settings = replace(settings, 'a.mp4', 'rtsp://a:s3cret@b/c')"
        )
    connection.close()
    listed = send(server, "GET", "/v1/cameras")
    changed = send(server, "PATCH", "/v1/cameras/door", {"url": "b.mp4"})
    assert (listed.status, changed.status) == (200, 200)
    assert "s3cret" not in listed.text + changed.text


def test_a_database_that_is_away_is_503(server: ControlServer, tmp_path: Path) -> None:
    (tmp_path / "rows.db").write_bytes(b"no database" * 1000)
    for method, path in (("GET", "/cameras"), ("POST", "/dead-letters/replay")):
        reply = send(server, method, f"/v1{path}", {} if method == "POST" else None)
        assert (reply.status, reply.json["what"]) == (503, "not a SQLite database")
    assert send(server, "GET", "/v1/health").status == 200
    with pytest.raises(ServiceError, match="not a SQLite database"):
        ControlClient(server.address.url, server.address.token).overview()


def test_the_text_of_an_unexpected_error_stays_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError("s3cret")

    monkeypatch.setattr(ControlApi, "list_cameras", fail)
    with ControlServer(make_settings(tmp_path), State) as server:
        reply = send(server, "GET", "/v1/cameras")
    assert (reply.status, reply.json["what"]) == (500, "unexpected error: ZeroDivisionError")
    assert "s3cret" not in reply.text + "".join(capfd.readouterr())


def test_changes_at_once_follow_one_another(server: ControlServer) -> None:
    client = ControlClient(server.address.url, server.address.token)

    def add(number: int) -> int:
        path = "/v1/cameras/door?new=true"
        return send(server, "PUT", path, {"url": f"{number}.mp4"}).status

    changes = [{"enabled": False}, {"under_display": True}, {"analyse_fps": 2.0}, {"play": "loop"}]
    with ThreadPoolExecutor(12) as pool:
        assert sorted(pool.map(add, range(12))) == [201] + [409] * 11
        list(pool.map(lambda values: client.change("door", values), changes))
    shown = client.overview()["door"]
    for values in changes:
        assert shown.items() >= values.items()


def test_dead_letters_are_replayed(server: ControlServer, tmp_path: Path, make: Any) -> None:
    events = [make.look(1), make.track(0), make.look(2), make.track(1, "end"), make.loss(7)]
    with use_store(f"sqlite:///{tmp_path}/rows.db") as engine:
        writer = StoreWriter(engine)
        with Outbox(tmp_path / "outbox", "door", "e1") as outbox:
            outbox.append(events)
        with (
            release_before(),
            Relay(tmp_path / "outbox", lambda found: store_messages(writer, found)) as relay,
        ):
            while relay.step():
                pass
    assert relay.dead == 3
    client = ControlClient(server.address.url, server.address.token)
    assert [client.replay_dead_letters() for _ in range(2)] == [3, 0]


def test_an_erasure_is_for_ever(server: ControlServer, tmp_path: Path, make: Any) -> None:
    events = [make.observation(1), make.track(0)]
    client = ControlClient(server.address.url, server.address.token)
    with use_store(f"sqlite:///{tmp_path}/rows.db") as engine:
        StoreWriter(engine).write(events)
        counts, cameras = client.erase(make_erasure(10**12, camera=events[0].camera))
        assert (counts["observations"], counts["tracks"]) == (1, 1)
        assert cameras == [events[0].camera]
        assert StoreWriter(engine).write(events).observations == 0


def test_it_closes_at_once_whoever_is_connected(tmp_path: Path) -> None:
    threads = threading.active_count()
    server = ControlServer(make_settings(tmp_path), State)
    server.start()
    where = urlsplit(server.address.url)
    place = ("127.0.0.1", where.port or 0)
    head = (
        f"PUT /v1/cameras/door HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {server.address.token}\r\nContent-Length: 100\r\n\r\n{{"
    )
    with socket.create_connection(place), socket.create_connection(place) as half:
        half.sendall(head.encode())
        time.sleep(0.2)
        began_s = time.monotonic()
        server.close()
        server.close()
        assert time.monotonic() - began_s < 2.5
    assert server.address.url == ""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(place)
    assert threading.active_count() == threads


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = ControlServer(make_settings(tmp_path, port=port), State)
        with pytest.raises(ServiceError, match=rf"cannot be served .*127\.0\.0\.1:{port}: "):
            server.start()
        server.close()


def test_its_own_token_is_new_each_time_and_a_given_one_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = set()
    for _ in range(2):
        with ControlServer(make_settings(tmp_path), State) as server:
            tokens.add(server.address.token)
            assert server.address.token not in repr(server.address)
    assert {len(token) for token in tokens} == {64}
    assert len(tokens) == 2
    monkeypatch.setenv("CONTROL_TOKEN", "a" * 20)
    with ControlServer(make_settings(tmp_path, token="env:CONTROL_TOKEN"), State) as server:
        assert send(server, "GET", "/v1/health", Authorization=f"Bearer {'a' * 20}").status == 200
    for bad in ("short", "a b" * 10, "é" * 20):
        monkeypatch.setenv("CONTROL_TOKEN", bad)
        with pytest.raises(
            ConfigError, match="not a token for the control interface: env:"
        ) as told:
            ControlServer(make_settings(tmp_path, token="env:CONTROL_TOKEN"), State).start()
        assert bad not in str(told.value)


@pytest.mark.needs("openssl")
def test_with_a_certificate_it_speaks_tls_alone(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    settings = make_settings(
        tmp_path, certificate=str(certificate), key=str(tmp_path / "key.pem"), host="0.0.0.0"
    )
    assert not settings.control.is_exposed
    with ControlServer(settings, State) as server:
        url, token = server.address.url, server.address.token
        assert url.startswith("https://127.0.0.1:")
        assert ControlClient(url, token, str(certificate)).health()["cameras"] == {}
        with pytest.raises(ServiceError, match="cannot be reached .*certificate verify failed"):
            ControlClient(url, token).health()
        with pytest.raises(ServiceError, match="cannot be reached"):
            ControlClient(url.replace("https", "http"), token).health()


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("fault", ["missing", "not PEM"])
def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path, fault: str) -> None:
    certificate = tmp_path / "certificate.pem"
    if fault == "not PEM":
        certificate.write_text("none")
    server = ControlServer(make_settings(tmp_path, certificate=str(certificate)), State)
    with pytest.raises(ConfigError, match="certificate or key cannot be used: .*certificate.pem"):
        server.start()
