"""The document of the topics names those that the relay publishes to, and schemas that exist."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.async_api import DEAD, build_async_api
from pipeline.service_settings import BusSettings

SCHEMAS = Path(__file__).parents[2] / "docs/schemas"


def test_topics_are_those_of_the_bus() -> None:
    connection = pytest.importorskip("pipeline.bus.kafka.connection")
    channels = build_async_api("house")["channels"]
    assert channels.keys() == {*connection.TOPICS.values(), connection.DEAD}
    for kind, topic in connection.TOPICS.items():
        assert kind in channels[topic]["messages"]
        assert channels[topic]["address"] == f"house.{topic}"


def test_every_payload_is_described() -> None:
    document = json.loads((SCHEMAS / "asyncapi.json").read_text(encoding="utf-8"))
    assert document == build_async_api(BusSettings().topic_prefix)
    for name, channel in document["channels"].items():
        for message in channel["messages"].values():
            if name != DEAD:
                schema = json.loads((SCHEMAS / message["payload"]["$ref"]).read_text("utf-8"))
                assert schema["properties"]["schema"]["default"] == message["name"]
    for operation in document["operations"].values():
        assert operation["channel"]["$ref"].rpartition("/")[2] in document["channels"]
