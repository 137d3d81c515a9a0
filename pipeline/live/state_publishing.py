"""Where the cameras of a process tell their latest state: to an MQTT broker, or to nobody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pipeline.errors import ConfigError
from pipeline.metrics import CameraMetrics
from pipeline.records import Event
from pipeline.service_settings import MqttSettings


class StatePublisher(Protocol):
    """Takes what cameras show now. No method waits for a network, but `close` for a moment."""

    def add(self, camera: str, display_name: str, events: Sequence[Event]) -> None:
        """Take a camera's records of a frame."""
        ...

    def forget(self, camera: str) -> None:
        """The camera is not read here any more."""
        ...

    def close(self) -> None:
        """Publish what has changed, and disconnect."""
        ...


class NoPublisher:
    """A StatePublisher that tells nobody."""

    def add(self, camera: str, display_name: str, events: Sequence[Event]) -> None:
        """Records are ignored."""

    def forget(self, camera: str) -> None:
        """Nothing is known."""

    def close(self) -> None:
        """Nothing is open."""


def open_state_publisher(settings: MqttSettings, metrics: CameraMetrics) -> StatePublisher:
    """The publisher that the settings ask for; it connects with the first record.

    Raises ConfigError for settings that cannot be used, or where the MQTT client is not installed.
    """
    if not settings.url:
        return NoPublisher()
    try:
        from pipeline.bus.mqtt.publisher import MqttPublisher
    except ModuleNotFoundError as error:
        raise ConfigError(
            "the MQTT client is missing", "mqtt.url", "pip install 'undercam[mqtt]'"
        ) from error
    return MqttPublisher(settings, lambda is_connected: metrics.mqtt.set(is_connected))
