"""The state of cameras at a real broker: retained, the newest only, and never waited for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.bus.mqtt.probe import probe
from pipeline.bus.mqtt.publisher import MqttPublisher
from pipeline.errors import ConfigError, ServiceError
from pipeline.service_settings import MqttSettings
from tests.pipeline.bus.mqtt.conftest import Listener, MqttBroker, wait_until
from tests.pipeline.store.conftest import Make

pytestmark = pytest.mark.needs("mosquitto")
Publish = Callable[..., MqttPublisher]


@pytest.fixture
def publish(broker: MqttBroker) -> Iterator[Publish]:
    """Make a publisher; keyword arguments change its settings."""
    publishers: list[MqttPublisher] = []

    def make(set_connected: Any = lambda is_connected: None, **changes: Any) -> MqttPublisher:
        given = {"url": f"mqtt://127.0.0.1:{broker.port}", "interval_s": 0.1} | changes
        publishers.append(MqttPublisher(MqttSettings.model_validate(given), set_connected))
        return publishers[-1]

    yield make
    for publisher in publishers:
        publisher.close()


def state_of(listener: Listener, camera: str = "door") -> dict[str, Any]:
    message = listener.newest.get(f"undercam/{camera}")
    return json.loads(message.payload) if message else {}


def test_who_comes_later_gets_the_newest_state_at_once(
    publish: Publish, listen: Callable[[], Listener]
) -> None:
    publisher, first = publish(), listen()
    publisher.add("door", "", [Make.status(), Make.observation(label="sadness")])
    wait_until(lambda: state_of(first).get("label") == "sadness")
    publisher.add("door", "", [Make.observation(frame=1, label="happiness")])
    wait_until(lambda: state_of(first).get("label") == "happiness")
    late = listen()
    wait_until(lambda: state_of(late).get("label") == "happiness")
    assert late.newest["undercam/door"].retain
    assert state_of(late)["state"] == "online"


def test_home_assistant_finds_every_sensor(
    publish: Publish, listen: Callable[[], Listener]
) -> None:
    """By its rules: topics of allowed characters, unique ids, templates on the state topic."""
    publisher, early = publish(repeat_s=10), listen()
    publisher.add("front-door_2", "Tür", [Make.status(camera="front-door_2")])
    wait_until(lambda: len(early.newest) == 5)
    listener = listen()
    wait_until(lambda: len(listener.newest) == 5)
    configs = {
        topic: json.loads(message.payload)
        for topic, message in listener.newest.items()
        if topic.startswith("homeassistant/sensor/")
    }
    assert {topic.split("/")[3] for topic in configs} == {"label", "confidence", "faces", "state"}
    assert len({config["unique_id"] for config in configs.values()}) == 4
    for topic, config in configs.items():
        node = topic.split("/")[2]
        assert node.replace("_", "").replace("-", "").isalnum()
        assert listener.newest[topic].retain
        assert config["state_topic"] == "undercam/front-door_2"
        assert config["expire_after"] == 30
        assert config["device"] == {
            "identifiers": ["undercam_front-door_2"], "name": "Tür", "manufacturer": "Undercam",
        }  # fmt: skip
        key = config["value_template"].split("value_json.")[1].split()[0].strip("})")
        assert key in state_of(listener, "front-door_2")


def test_without_a_prefix_nothing_is_announced(
    publish: Publish, listen: Callable[[], Listener]
) -> None:
    publisher, listener = publish(discovery_prefix=""), listen()
    publisher.add("door", "", [Make.status()])
    wait_until(lambda: "undercam/door" in listener.newest)
    assert list(listener.newest) == ["undercam/door"]


def test_an_unchanged_state_is_repeated_and_a_changing_one_is_not_more_often_than_asked(
    publish: Publish, listen: Callable[[], Listener]
) -> None:
    publisher, listener = publish(discovery_prefix="", repeat_s=1.0, interval_s=0.3), listen()
    start = time.monotonic()
    while time.monotonic() - start < 1.5:
        frame = round(1000 * (time.monotonic() - start))
        publisher.add("door", "", [Make.observation(frame=frame, captured_ms=1_000 + frame)])
        time.sleep(0.01)
    assert 1 <= len(listener.all) <= 6
    seen = len(listener.all)
    wait_until(lambda: len(listener.all) >= seen + 2, 10)
    assert listener.all[-1].payload == listener.all[-2].payload


def test_a_broker_that_is_away_holds_nobody_and_gets_the_newest_state_when_it_is_back(
    publish: Publish, broker: MqttBroker, listen: Callable[[], Listener]
) -> None:
    connected: list[bool] = []
    broker.stop()
    publisher = publish(connected.append)
    begun = time.perf_counter()
    for frame in range(2000):
        label = "sadness" if frame < 1999 else "fear"
        publisher.add("door", "", [Make.observation(frame=frame, label=label)])
    assert time.perf_counter() - begun < 5, "each call returns at once"
    assert connected == [False]
    broker.start()
    listener = listen()
    wait_until(lambda: state_of(listener).get("label") == "fear")
    assert len([one for one in listener.all if one.topic == "undercam/door"]) == 1
    assert connected[-1]
    # Killed, it has forgotten all that it retained: everything is announced and told again.
    listener.newest.clear()
    broker.stop()
    wait_until(lambda: not connected[-1])
    broker.start()
    wait_until(lambda: len(listener.newest) == 5)
    assert state_of(listener)["label"] == "fear"


def test_the_last_state_is_told_when_a_camera_is_forgotten(
    publish: Publish, listen: Callable[[], Listener]
) -> None:
    publisher, listener = publish(interval_s=30), listen()
    publisher.add("door", "", [Make.status()])
    wait_until(publisher._client.is_connected)
    publisher.add("door", "", [Make.status(seq=1, state="offline")])
    publisher.forget("door")
    wait_until(lambda: state_of(listener).get("state") == "offline")


def test_a_login_is_used_and_a_wrong_one_told(tmp_path: Any, free_port: int) -> None:
    broker = MqttBroker(tmp_path, free_port, ("undercam", "s3cret"))
    broker.start()
    url = f"mqtt://127.0.0.1:{free_port}"
    right = MqttSettings(url=url, user="undercam", password="s3cret")
    try:
        assert probe(right) == f"127.0.0.1:{free_port} takes our connection"
        for login in ({"user": "undercam", "password": "wrong"}, {}):
            with pytest.raises(ServiceError, match="MQTT broker refuses us") as refused:
                probe(MqttSettings.model_validate({"url": url, **login}))
            assert "wrong" not in str(refused.value)
        publisher = MqttPublisher(right)
        listener = Listener(free_port, ("undercam", "s3cret"))
        publisher.add("door", "", [Make.status()])
        wait_until(lambda: "undercam/door" in listener.newest)
        publisher.close()
        listener.close()
    finally:
        broker.stop()


def test_no_broker_at_all(free_port: int) -> None:
    with pytest.raises(ServiceError, match="MQTT broker cannot be reached: 127.0.0.1"):
        probe(MqttSettings(url=f"mqtt://127.0.0.1:{free_port}"))


@pytest.mark.parametrize(
    "url", ["http://a:1", "mqtt://", "mqtt://u:s3cret@a", "a:1883", "mqtt://a:99999", "mqtt://a/x"]
)
def test_other_addresses_are_refused_without_their_secrets(url: str) -> None:
    with pytest.raises(ConfigError, match="not the address of an MQTT broker") as error:
        MqttPublisher(MqttSettings(url=url))
    assert "s3cret" not in str(error.value)


def test_a_certificate_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="certificate cannot be read"):
        MqttPublisher(MqttSettings(url="mqtts://localhost", ca_file="/nowhere.pem"))
