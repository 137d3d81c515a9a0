"""What several rooms of the pipeline are tested with: events, a broker, databases."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from pipeline.service_settings import BusSettings
from tests.pipeline.broker import Broker
from tests.pipeline.numbered import _number_of, _numbered, encode
from tests.pipeline.square import classify, detect, square_clip
from tests.pipeline.store.conftest import free_port, make, postgres_url, server

__all__ = [
    "_number_of",
    "_numbered",
    "classify",
    "detect",
    "encode",
    "free_port",
    "make",
    "postgres_url",
    "server",
    "square_clip",
]
_numbers = count(1)


@pytest.fixture(scope="session")
def broker(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Started once; a test that stops it starts it again."""
    made = Broker(data / "kafka/broker", tmp_path_factory.mktemp("kafka"))
    made.start()
    yield made
    made.crash()


@pytest.fixture
def bus(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[BusSettings]:
    """Topics and a group that no other test uses."""
    from pipeline.bus.kafka.errors import capture_log

    capture_log()
    log = logging.getLogger("kafka")
    # pytest would keep every record for good, and with it the exceptions and sockets that it names.
    monkeypatch.setattr(log, "addHandler", lambda _: None)
    name = f"test{next(_numbers)}"
    yield BusSettings(
        url=broker.url, topic_prefix=name, group=f"{name}-store", partitions=2, timeout_s=5
    )
    with warnings.catch_warnings():
        # The client leaves sockets that could not connect to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
