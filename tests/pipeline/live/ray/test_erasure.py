"""A running `undercam run` deletes from its outboxes what another command erases."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.bus.outbox import Outbox
from tests.pipeline.live.ray.test_run import undercam

AWAY = '[bus]\nurl = "kafka://127.0.0.1:9"\n'
"""So what is in the outboxes stays there."""


@pytest.mark.needs("kafka")
@pytest.mark.parametrize("engine", [pytest.param("ray", marks=pytest.mark.slow), "local"])
def test_every_relay_hears_of_an_erasure(start: Any, make: Any, engine: str) -> None:
    live = start(AWAY, "--engine", engine)
    live.until(lambda: "being delivered" in live.said or "cannot be reached" in live.said)
    folder = live.folder / "state/outbox"
    with Outbox(folder, "door", "e1") as outbox:
        outbox.append([make.observation(n, n) for n in range(200)])
        result = undercam(live.folder, "erase", "--camera", "door", "-c", "undercam.toml")
        assert result["outbox"] == {"events": 0, "running": True}
        live.until(lambda: not any(b"obs:door" in p.read_bytes() for p in folder.iterdir()))
        assert outbox.waiting == 0
    live.stop()
