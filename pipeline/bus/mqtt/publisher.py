"""Publishes the state of cameras to an MQTT broker, in a thread of its own.

Only the newest state of a camera counts: while the broker is away nothing waits but that, and no
camera ever waits for the broker.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event as Flag
from threading import Lock, Thread
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from pipeline.bus.mqtt.discovery import discovery_messages
from pipeline.bus.mqtt.summary import CameraSummary
from pipeline.config import resolve
from pipeline.errors import ConfigError
from pipeline.records import Event
from pipeline.service_settings import MqttSettings

PORTS = {"mqtt": 1883, "mqtts": 8883}
RETRY_MIN_S, RETRY_MAX_S = 1, 30
CLOSE_S = 2.0
QOS = 1
SetConnected = Callable[[bool], None]


@dataclass
class _Camera:
    display_name: str
    summary: CameraSummary = field(default_factory=CameraSummary)
    sent: str = ""
    sent_s: float = float("-inf")
    is_announced: bool = False


class MqttPublisher:
    """`add` takes records from any thread and returns at once; the first ones begin to connect, and
    a connection that is lost is made again. `set_connected` is told whether there is one.

    Raises ConfigError for settings that cannot be used.
    """

    def __init__(
        self, settings: MqttSettings, set_connected: SetConnected = lambda is_connected: None
    ) -> None:
        self._settings, self._set_connected = settings, set_connected
        self._client, self._host, self._port = make_client(settings)
        self._client.reconnect_delay_set(RETRY_MIN_S, RETRY_MAX_S)
        self._client.on_connect = self._note_connection
        self._client.on_disconnect = self._note_disconnection
        self._cameras: dict[str, _Camera] = {}
        self._lock, self._stop, self._is_started = Lock(), Flag(), False
        self._thread = Thread(target=self._publish_all, name="mqtt", daemon=True)

    def add(self, camera: str, display_name: str, events: Sequence[Event]) -> None:
        """Take a camera's records of a frame; the first ones begin to connect."""
        with self._lock:
            if not self._is_started:
                self._start()
            known = self._cameras.setdefault(camera, _Camera(display_name))
            if known.display_name != display_name:
                known.display_name, known.is_announced = display_name, False
            known.summary.add(events)

    def forget(self, camera: str) -> None:
        """Another process reads the camera, or none does: its state is no longer ours to tell."""
        self._publish_changes()
        with self._lock:
            self._cameras.pop(camera, None)

    def close(self) -> None:
        """Publish what has changed, and disconnect; waits a moment at most."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)
        self._client.disconnect()
        self._client.loop_stop()

    def _start(self) -> None:
        self._is_started = True
        self._set_connected(False)
        self._client.connect_async(self._host, self._port)
        self._client.loop_start()
        self._thread.start()

    def _publish_all(self) -> None:
        while not self._stop.wait(self._settings.interval_s):
            self._publish_changes()
        self._publish_changes()

    def _publish_changes(self) -> None:
        """Announce new cameras, and publish the states that changed or are due again."""
        if not self._client.is_connected():
            return
        with self._lock:
            due = [
                message for name, one in self._cameras.items() for message in self._due(name, one)
            ]
        for topic, payload in due:
            self._client.publish(topic, payload, qos=QOS, retain=True)

    def _due(self, name: str, camera: _Camera) -> list[tuple[str, str]]:
        due, now_s = [], time.monotonic()
        if not camera.is_announced:
            due += discovery_messages(name, camera.display_name, self._settings)
            camera.is_announced = True
        payload = json.dumps(camera.summary.message(), ensure_ascii=False)
        if payload != camera.sent or now_s - camera.sent_s >= self._settings.repeat_s:
            due.append((f"{self._settings.topic_prefix}/{name}", payload))
            camera.sent, camera.sent_s = payload, now_s
        return due

    def _note_connection(
        self,
        _client: Client,
        _data: Any,
        _flags: ConnectFlags,
        code: ReasonCode,
        _: Properties | None,
    ) -> None:
        if code.is_failure:
            return
        self._set_connected(True)
        with self._lock:  # a broker that was started anew may have forgotten what it retained
            for camera in self._cameras.values():
                camera.sent, camera.is_announced = "", False

    def _note_disconnection(
        self,
        _client: Client,
        _data: Any,
        _flags: DisconnectFlags,
        _code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._set_connected(False)


def make_client(settings: MqttSettings) -> tuple[Client, str, int]:
    """A client of the vendor's that is not connected, with secrets resolved, and host and port of
    the broker. Raises ConfigError for settings that cannot be used."""
    host, port, is_tls = parse_url(resolve(settings.url))
    client = Client(CallbackAPIVersion.VERSION2)
    if user := resolve(settings.user):
        client.username_pw_set(user, resolve(settings.password) or None)
    if is_tls:
        try:
            client.tls_set(settings.ca_file or None)
        except OSError as error:
            why = error.strerror or "no certificate in it"
            what = f"certificate cannot be read ({why})"
            raise ConfigError(what, settings.ca_file, "correct mqtt.ca_file") from error
    return client, host, port


def parse_url(url: str) -> tuple[str, int, bool]:
    """Host, port and whether TLS is used; raises ConfigError for another address."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise _bad_url() from error
    if parts.scheme not in PORTS or not host or parts.username or parts.path.strip("/"):
        raise _bad_url()
    return host, port, parts.scheme == "mqtts"


def _bad_url() -> ConfigError:
    # The address is not quoted: it may hold a password where none belongs.
    remedy = "give mqtt://HOST:PORT, with mqtt.user and mqtt.password beside it"
    return ConfigError("not the address of an MQTT broker", "mqtt.url", remedy)
