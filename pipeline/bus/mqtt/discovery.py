"""How Home Assistant finds a camera's sensors (its MQTT discovery): one retained message each."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pipeline.service_settings import MqttSettings

EXPIRE_AFTER = 3
"""Repetitions of a state that may be missing before a sensor counts as unavailable."""


@dataclass(frozen=True)
class _Sensor:
    key: str
    name: str
    template: str
    icon: str
    unit: str | None = None


SENSORS = (
    _Sensor("label", "Expression", "{{ value_json.label }}", "mdi:emoticon-outline"),
    _Sensor(
        "confidence",
        "Confidence",
        "{{ (value_json.confidence * 100) | round }}",
        "mdi:percent",
        "%",
    ),
    _Sensor("faces", "Faces", "{{ value_json.faces }}", "mdi:account-multiple"),
    _Sensor("state", "Camera state", "{{ value_json.state }}", "mdi:cctv"),
)


def discovery_messages(
    camera: str, display_name: str, settings: MqttSettings
) -> list[tuple[str, str]]:
    """Topics and payloads that make a camera a device with SENSORS; none without a prefix.

    All read PREFIX/CAMERA; the first has the whole message as its attributes. What a face shows is
    an estimate from its image, as the name of the sensor says: an expression, not a feeling.
    """
    if not settings.discovery_prefix:
        return []
    topic = f"{settings.topic_prefix}/{camera}"
    node = f"{settings.topic_prefix}_{camera}".replace("/", "_")
    device = {"identifiers": [node], "name": display_name or camera, "manufacturer": "Undercam"}
    messages = []
    for sensor in SENSORS:
        config = {
            "name": sensor.name,
            "unique_id": f"{node}_{sensor.key}",
            "state_topic": topic,
            "value_template": sensor.template,
            "icon": sensor.icon,
            "expire_after": round(settings.repeat_s * EXPIRE_AFTER),
            "device": device,
        }
        if sensor.unit:
            config["unit_of_measurement"] = sensor.unit
        if sensor.key == "label":
            config["json_attributes_topic"] = topic
        where = f"{settings.discovery_prefix}/sensor/{node}/{sensor.key}/config"
        messages.append((where, json.dumps(config, ensure_ascii=False)))
    return messages
