"""How commands find the control interface, and what they make of strange answers."""

from __future__ import annotations

import json
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.bus.locks import FileLock
from pipeline.config import Settings, load
from pipeline.control_client import (
    CONTROL_FILE,
    RUN_LOCK,
    ControlAddress,
    ControlClient,
    ControlFile,
    find_control,
)
from pipeline.errors import ConfigError, ServiceError

ADDRESS = ControlAddress("http://127.0.0.1:8600", "t" * 64, socket.gethostname())


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[FileLock]:
    held = FileLock.acquire(tmp_path / RUN_LOCK)
    assert held
    with held:
        yield held


def settings(tmp_path: Path, **control: Any) -> Settings:
    return load(outbox={"folder": str(tmp_path)}, control=control)


def test_the_file_is_for_its_owner_and_goes(tmp_path: Path, lock: FileLock) -> None:
    file, path = ControlFile(tmp_path), tmp_path / CONTROL_FILE
    file.update(ADDRESS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert file.read() == ControlFile(tmp_path).read() == ADDRESS
    newer = ControlAddress("http://127.0.0.1:8601", "u" * 64, ADDRESS.machine)
    file.update(newer)
    assert file.read() == newer
    file.update(ControlAddress())
    assert sorted(tmp_path.iterdir()) == [tmp_path / RUN_LOCK]
    assert file.read() is None


def test_a_killed_command_has_left_nothing_to_follow(tmp_path: Path) -> None:
    lock = FileLock.acquire(tmp_path / RUN_LOCK)
    assert lock
    with lock:
        ControlFile(tmp_path).update(ADDRESS)
        assert find_control(settings(tmp_path))
    assert (tmp_path / CONTROL_FILE).exists()
    assert find_control(settings(tmp_path)) is None


@pytest.mark.parametrize("fault", ["mode", "link", "text", "list", "other keys", "none"])
def test_a_file_that_is_not_ours_is_not_followed(
    tmp_path: Path, lock: FileLock, fault: str
) -> None:
    path = tmp_path / CONTROL_FILE
    ControlFile(tmp_path).update(ADDRESS)
    match fault:
        case "mode":
            path.chmod(0o644)
        case "link":
            path.symlink_to(path.rename(tmp_path / "other"))
        case "none":
            path.unlink()
        case _:
            path.write_text({"text": "{", "list": "[1]"}.get(fault, '{"a": 1}'))
    assert find_control(settings(tmp_path)) is None


def test_another_machine_is_named_with_its_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="no token for the control interface: control.token: "):
        find_control(settings(tmp_path, url="https://cams:8600"))
    monkeypatch.setenv("CONTROL_TOKEN", "s3cret" * 4)
    found = find_control(settings(tmp_path, url="https://cams:8600/", token="env:CONTROL_TOKEN"))
    assert repr(found) == "ControlClient('https://cams:8600')"
    with pytest.raises(ConfigError, match="control.ca_file"):
        ControlClient("https://127.0.0.1:1", "t", str(tmp_path / "none.pem")).health()


@pytest.mark.parametrize(
    "values",
    [
        {"token": "plain"},
        {"token": "env:"},
        {"url": "cams:8600"},
        {"url": "http://a:b@c"},
        {"key": "key.pem"},
    ],
)
def test_a_setting_that_cannot_be_used_is_refused(tmp_path: Path, values: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="bad value for 'control"):
        settings(tmp_path, **values)


def test_another_machines_loopback_is_not_reachable() -> None:
    assert ADDRESS.is_reachable
    assert ControlAddress().is_reachable
    assert not ControlAddress("http://127.0.0.1:8600", machine="elsewhere").is_reachable
    assert ControlAddress("http://10.0.0.7:8600", machine="elsewhere").is_reachable


@contextmanager
def answering(reply: bytes | None) -> Iterator[str]:
    """A server that answers everything the same; None: never."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65_536)
                if reply is not None:
                    connection.sendall(reply)
                else:
                    connection.recv(1)  # until it goes

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def http_reply(status: str, text: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()


@pytest.mark.parametrize(
    "reply",
    [
        None,
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        http_reply("200 OK", "<html>"),
        http_reply("200 OK", "[1]"),
        http_reply("302 Found\r\nLocation: http://127.0.0.1:1/", ""),
        http_reply("404 Not Found", "{}"),
        http_reply("500 Oops", json.dumps({"what": 1})),
    ],
)
def test_a_stranger_is_one_clear_error_in_time(reply: bytes | None) -> None:
    with answering(reply) as url:
        began_s = time.monotonic()
        with pytest.raises(ServiceError, match="the control interface ") as told:
            ControlClient(url, "s3cret" * 4).health()
        assert time.monotonic() - began_s < 4
    assert "s3cret" not in str(told.value)


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with answering(http_reply("200 OK", '{"cameras": {}}')) as url:
        assert ControlClient(url, "t").health() == {"cameras": {}}
