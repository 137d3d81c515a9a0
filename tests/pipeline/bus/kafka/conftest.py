"""A feed that reads topics made of bytes, without a broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from pipeline.bus.kafka import consumer as consumer_module
from pipeline.bus.kafka.connection import KafkaConnection
from pipeline.bus.kafka.consumer import RecordConsumer
from pipeline.service_settings import BusSettings
from tests.pipeline.bus.kafka.wire import Lying

Reading = Callable[[dict[str, bytes]], tuple[RecordConsumer, Lying]]


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reading]:
    """Makes a feed, and the consumer that it has in place of Kafka's."""
    topics: dict[str, bytes] = {}
    made: list[Lying] = []

    class NoLink(KafkaConnection):
        def prepare(self) -> None:
            pass

        def connect(self, kind: Any, **options: Any) -> Any:
            assert options["isolation_level"] == "read_committed"
            made.append(Lying(dict(topics)))
            return made[-1]

    monkeypatch.setattr(consumer_module, "KafkaConnection", NoLink)
    with ExitStack() as stack:

        def read(given: dict[str, bytes]) -> tuple[RecordConsumer, Lying]:
            topics.clear()
            topics.update({f"undercam.{name}": lies for name, lies in given.items()})
            feed = stack.enter_context(RecordConsumer(BusSettings(url="kafka://nobody:1")))
            return feed, made[-1]

        yield read
