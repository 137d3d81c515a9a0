"""Each fault is one sentence with its remedy, without a credential, and nothing on stderr."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.bus.kafka.consumer import RecordConsumer
from pipeline.bus.kafka.publisher import KafkaPublisher
from pipeline.errors import ConfigError, ServiceError
from pipeline.service_settings import BusSettings
from tests.pipeline.broker import ALICE, BOB, NEEDS_KAFKA, Broker

pytestmark = NEEDS_KAFKA
ROOT = Path(__file__).parents[4]
LOGIN = {"security": "SASL_PLAINTEXT", "user": ALICE[0], "password": ALICE[1]}
PLAIN = {"sasl_mechanism": "PLAIN", "user": BOB[0], "password": BOB[1]}


def send(bus: BusSettings, broker: Broker, make: Any, where: str, changes: dict[str, Any]) -> None:
    urls = {
        "open": broker.url,
        "login": broker.login_url,
        "tls": broker.tls_url,
        "controller": broker.controller_url,
        "nobody": "kafka://127.0.0.1:9",
    }
    changes = changes | {"url": urls[where], "timeout_s": 1.0}
    with KafkaPublisher(bus.model_copy(update=changes)) as publisher:
        publisher.send([make.look()])


@pytest.mark.parametrize(
    ("where", "changes", "sentence"),
    [
        ("nobody", {}, "broker cannot be reached: kafka://127.0.0.1:9: start it"),
        ("login", LOGIN | {"password": "n0t-it"}, "broker refuses the login: .*: correct bus.user"),
        ("login", LOGIN | PLAIN | {"password": "n0t-it"}, "broker refuses the login: "),
        ("login", LOGIN | {"sasl_mechanism": "SCRAM-SHA-512"}, "correct .*bus.sasl_mechanism"),
        ("login", {}, "broker closes the connection: .*: it may want a login"),
        ("open", LOGIN, "broker wants no login: .*: correct bus.security"),
        ("open", {"security": "SSL"}, "no TLS with this broker: .*: correct bus.security"),
        ("tls", {}, "broker closes the connection: .*: it may want TLS"),
        (
            "tls",
            LOGIN | {"security": "SASL_SSL"},
            "certificate is not trusted: .*: set bus.ca_file",
        ),
        ("controller", {}, "not a port for clients"),
        ("login", LOGIN | PLAIN, r"not allowed to use the topics: .* Create on test\d+\.\*"),
        ("open", {"replication": 3}, "too few brokers for bus.replication: .*: start more"),
        ("open", {"topic_prefix": "no spaces"}, "not a topic's name: .*: correct bus.topic_prefix"),
    ],
)
def test_fault(
    bus: BusSettings,
    broker: Broker,
    make: Any,
    capfd: pytest.CaptureFixture[str],
    where: str,
    changes: dict[str, Any],
    sentence: str,
) -> None:
    with pytest.raises(ServiceError, match=sentence) as caught:
        send(bus, broker, make, where, changes)
    assert not any(secret in str(caught.value) for secret in (ALICE[1], BOB[1], "n0t-it"))
    assert capfd.readouterr().err == ""


def test_login_by_reference_and_over_tls(
    bus: BusSettings, broker: Broker, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", ALICE[1])
    login = LOGIN | {"password": "env:KAFKA_PASSWORD"}
    send(bus, broker, make, "login", login)
    send(bus, broker, make, "tls", login | {"security": "SASL_SSL", "ca_file": broker.authority})


def test_a_topic_that_may_not_be_written(bus: BusSettings, broker: Broker, make: Any) -> None:
    """The topics are there, and bob may not even see them; the group is not his either."""
    with KafkaPublisher(bus) as publisher:
        publisher.open()
    with pytest.raises(ServiceError, match="not allowed to use the topics: "):
        send(bus, broker, make, "login", LOGIN | PLAIN)
    bob = bus.model_copy(update=LOGIN | PLAIN | {"url": broker.login_url})
    with pytest.raises(ServiceError, match="not allowed to use the topics: "):
        RecordConsumer(bob)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"url": "127.0.0.1:9092"}, "not the address of a Kafka cluster: bus.url: give kafka://"),
        ({"url": "kafka://ann:hunter2@b:9092"}, "a login belongs in bus.user"),
        ({"url": "kafka://a:1,,b:2"}, "not the address"),
        ({"url": "env:NO_SUCH_URL"}, "secret not set: env:NO_SUCH_URL"),
        ({"security": "SSL", "ca_file": "/no/ca.pem"}, "authority's file .*: bus.ca_file /no/ca"),
        (LOGIN | {"password": "env:NO_SUCH_PASSWORD"}, "secret not set: env:NO_SUCH_PASSWORD"),
    ],
)
def test_settings_that_cannot_be_used(changes: dict[str, Any], sentence: str) -> None:
    settings = BusSettings(url="kafka://127.0.0.1:9").model_copy(update=changes)
    with pytest.raises(ConfigError, match=sentence) as caught:
        KafkaPublisher(settings)
    assert "hunter2" not in str(caught.value)


TRIES = """
import contextlib, gc, os, threading
from pipeline.bus.kafka.publisher import KafkaPublisher
from pipeline.errors import ServiceError
from pipeline.service_settings import BusSettings
publisher = KafkaPublisher(BusSettings(url="kafka://127.0.0.1:9", timeout_s=1.0))
for _ in range(3):
    with contextlib.suppress(ServiceError):
        publisher.open()
    gc.collect()
    print(threading.active_count(), len(os.listdir("/proc/self/fd")))
"""


def test_tries_in_vain_leave_no_thread_and_no_file_open() -> None:
    """In a process of its own: pytest keeps what is logged, and so the sockets in it."""
    tries = subprocess.run([sys.executable, "-c", TRIES], cwd=ROOT, capture_output=True, text=True)
    assert tries.stderr == ""
    first, *others = tries.stdout.splitlines()
    assert others == [first] * 2
    assert first.startswith("1 ")
