"""The square clip of the runners' tests, read by a camera worker into outboxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.bus.relay import Relay
from pipeline.config import Settings
from pipeline.live.camera_worker import CameraWorker
from pipeline.messages import Message, read_message
from pipeline.records import DeadLetter, Event
from pipeline.stages.classify import Classify
from pipeline.stages.detect import Detect


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    outbox = {"folder": str(tmp_path / "outbox")}
    return Settings.model_validate({"outbox": outbox, "workers": {"lease_s": 60}})


@pytest.fixture
def worker(settings: Settings, detect: Detect, classify: Classify) -> Iterator[CameraWorker]:
    made = CameraWorker(settings, lambda lease, metrics: classify, detect=detect)
    yield made
    made.close()


@pytest.fixture
def said(settings: Settings) -> Callable[[], list[Event]]:
    """Everything in the outboxes since it was last asked."""

    def drained() -> list[Event]:
        found: list[Message] = []
        with Relay(settings.outbox.folder, found.extend) as relay:
            while relay.step():
                pass
        read = [read_message(one) for one in found]
        return [one for one in read if not isinstance(one, DeadLetter)]

    return drained
