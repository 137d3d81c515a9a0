"""A real MQTT broker, and whoever listens to it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


class MqttBroker:
    """Mosquitto on a port of its own; `stop` and `start` may follow one another."""

    def __init__(self, folder: Path, port: int, login: tuple[str, str] | None = None) -> None:
        self.port, self._folder = port, folder
        lines = [f"listener {port} 127.0.0.1", f"allow_anonymous {str(login is None).lower()}"]
        if login:
            file = folder / "passwords"
            file.touch(mode=0o600)
            tool = str(Path(MOSQUITTO).parent / "mosquitto_passwd").replace("sbin", "bin")
            subprocess.run([tool, "-b", str(file), *login], check=True, capture_output=True)
            lines.append(f"password_file {file}")
        (folder / "mosquitto.conf").write_text("\n".join([*lines, "user root", ""]))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [MOSQUITTO, "-c", str(self._folder / "mosquitto.conf")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < end, (self._folder / "log").read_text()
                time.sleep(0.05)

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


class Listener:
    """The messages of a broker by topic, the newest of each, and all of them in order."""

    def __init__(self, port: int, login: tuple[str, str] | None = None) -> None:
        self.newest: dict[str, MQTTMessage] = {}
        self.all: list[MQTTMessage] = []
        self._lock = Lock()
        self._client = Client(CallbackAPIVersion.VERSION2)
        if login:
            self._client.username_pw_set(*login)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_message = self._note
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _note(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        with self._lock:
            self.newest[message.topic] = message
            self.all.append(message)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path, free_port: int) -> Iterator[MqttBroker]:
    """Without a login."""
    broker = MqttBroker(tmp_path, free_port)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def listen(broker: MqttBroker) -> Iterator[Callable[[], Listener]]:
    """Connect a listener to the broker."""
    listeners: list[Listener] = []

    def connect() -> Listener:
        listeners.append(Listener(broker.port))
        return listeners[-1]

    yield connect
    for listener in listeners:
        listener.close()


def wait_until(is_true: Callable[[], object], timeout_s: float = 20) -> None:
    """Fail where it does not become true in time."""
    end = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.02)
