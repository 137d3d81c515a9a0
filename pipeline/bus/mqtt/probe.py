"""Whether an MQTT broker takes our messages, for `undercam doctor`."""

from __future__ import annotations

from threading import Event as Flag
from typing import Any

from paho.mqtt.client import Client, ConnectFlags
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from pipeline.bus.mqtt.publisher import make_client
from pipeline.errors import ServiceError
from pipeline.service_settings import MqttSettings

TIMEOUT_S = 5.0


def probe(settings: MqttSettings) -> str:
    """Connect once; returns where to. Raises ServiceError or ConfigError."""
    client, host, port = make_client(settings)
    where, codes, answered = f"{host}:{port}", [], Flag()

    def note(
        _c: Client, _d: Any, _f: ConnectFlags, code: ReasonCode, _p: Properties | None
    ) -> None:
        codes.append(code)
        answered.set()

    client.on_connect = note
    try:
        client.connect(host, port, keepalive=round(TIMEOUT_S))
    except OSError as error:
        remedy = f"start the broker, or correct mqtt.url ({error.strerror or error})"
        raise ServiceError("MQTT broker cannot be reached", where, remedy) from error
    client.loop_start()
    try:
        if not answered.wait(TIMEOUT_S):
            raise ServiceError("no answer of an MQTT broker", where, "correct mqtt.url")
    finally:
        client.disconnect()
        client.loop_stop()
    if codes[0].is_failure:
        remedy = "correct mqtt.user and mqtt.password"
        raise ServiceError(f"MQTT broker refuses us ({codes[0]})", where, remedy)
    return f"{where} takes our connection"
