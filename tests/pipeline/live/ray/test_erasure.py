"""What another command erases while `undercam run` is at work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dashboard.launch import serve
from pipeline.bus.outbox import Outbox
from pipeline.config import load
from pipeline.store.schema import COUNTS
from tests.pipeline.live.ray.test_run import config, undercam

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


def files_with(folder: Path, text: bytes) -> list[str]:
    """The files of a folder, the database's log among them, that hold a text."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path.name for path in found if text in path.read_bytes()]


@pytest.mark.slow
def test_no_byte_of_a_camera_is_left_while_everything_goes_on(start: Any, clip: Path) -> None:
    """A camera that others stand beside, with a page that is open."""
    live = start(config(clip, "door", "hall", play="loop", fps=5.0), "--engine", "local")
    counts = "SELECT camera, count(*) FROM observations GROUP BY camera"
    live.until(lambda: min([n for _, n in live.rows(counts)], default=0) >= 20)
    state = live.folder / "state"
    assert files_with(state, b"obs:door:")
    with serve(load(dashboard={"port": 0}), f"sqlite:///{live.database}"):
        undercam(live.folder, "cameras", "remove", "door", "-c", "undercam.toml")
        live.until(lambda: "door: no longer read" in live.said)
        result = undercam(live.folder, "erase", "--camera", "door", "-c", "undercam.toml")
        assert (result["outbox"]["running"], result["remains"]) == (True, "")
        assert result["observations"] >= 20
        live.until(lambda: not [*files_with(state, b"obs:door:"), *files_with(state, b"trk:door:")])
        seen = dict(live.rows(counts))
        live.until(lambda: dict(live.rows(counts))["hall"] > seen["hall"])
        assert seen.keys() == {"hall"}
    live.stop()
    assert not [*files_with(state, b"obs:door:"), *files_with(state, b"trk:door:")]
    total = " + ".join(COUNTS)
    assert dict(live.rows(f"SELECT camera, sum({total}) FROM emotion_minutes GROUP BY camera")) == (
        dict(live.rows(counts))
    )
