"""The control interface of a real `undercam run`, and commands in processes of their own."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.live.ray.test_run import config, undercam

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CONTROL = Path("state/outbox/.control.json")
ELSEWHERE = '[store]\nurl = "sqlite:///elsewhere.db"\n'
"""For commands: what takes effect all the same went through the interface."""


@pytest.mark.parametrize("engine", ["ray", "local"])
def test_cameras_change_through_the_interface(start: Any, clip: Path, engine: str) -> None:
    live = start(config(clip, "door", play="loop", fps=1.0), "--engine", engine)
    file = live.folder / CONTROL
    (live.folder / "command.toml").write_text(ELSEWHERE)

    def cameras(*arguments: str, code: int = 0) -> dict[str, Any]:
        return undercam(live.folder, "cameras", *arguments, "-c", "command.toml", code=code)

    live.until(file.exists)
    assert file.stat().st_mode & 0o777 == 0o600
    token = json.loads(file.read_text())["token"]
    cameras("add", "hall", str(clip), "--play", "loop", "--fps", "1")
    live.until(lambda: "hall: online" in live.said)
    assert cameras("list")["cameras"].keys() == {"door", "hall"}
    assert "already registered" in cameras("add", "hall", "a.mp4", code=2)["stderr"]
    secret = cameras("add", "yard", "rtsp://a:s3cret@b/c", code=2)["stderr"]
    assert "an address with a credential in it" in secret
    assert "s3cret" not in secret
    cameras("remove", "hall")
    live.until(lambda: "hall: no longer read" in live.said)
    if engine == "ray":
        live.kill("SupervisorActor")
        live.until(lambda: json.loads(file.read_text())["token"] != token)
        cameras("add", "hall", str(clip), "--play", "loop", "--fps", "1")
        live.until(lambda: live.said.count("hall: online") == 2)
    assert not (live.folder / "elsewhere.db").exists()
    live.stop()
    assert not file.exists()
    assert token not in live.said


def test_a_killed_run_leaves_a_file_that_commands_pass_over(start: Any, clip: Path) -> None:
    live = start(config(clip, "door", play="loop", fps=1.0), "--engine", "local")
    live.until((live.folder / CONTROL).exists)
    live.process.kill()
    live.process.communicate()
    assert (live.folder / CONTROL).exists()
    began_s = time.monotonic()
    undercam(live.folder, "cameras", "add", "hall", "a.mp4", "-c", "undercam.toml")
    assert time.monotonic() - began_s < 10
    assert live.rows("SELECT camera FROM cameras WHERE settings IS NOT NULL ORDER BY camera") == [
        *(("door",), ("hall",)),
    ]
    again = start(config(clip, "door", play="loop", fps=1.0), "--engine", "local")
    before = json.loads((live.folder / CONTROL).read_text())
    again.until(
        lambda: (
            (live.folder / CONTROL).exists()
            and json.loads((live.folder / CONTROL).read_text()) != before
        )
    )
    undercam(live.folder, "cameras", "remove", "hall", "-c", "undercam.toml")
    again.stop()


def test_on_a_cluster_it_is_found_too(start: Any, clip: Path, address: str) -> None:
    live = start(config(clip, "door", play="loop", fps=1.0), "--address", address)
    live.until((live.folder / CONTROL).exists)
    (live.folder / "command.toml").write_text(ELSEWHERE)
    undercam(live.folder, "cameras", "set", "door", "--disable", "-c", "command.toml")
    live.until(lambda: "door: no longer read" in live.said)
    live.stop()
    assert not (live.folder / CONTROL).exists()


def test_without_tls_on_the_network_it_warns(start: Any, clip: Path) -> None:
    open_control = '[control]\nhost = "0.0.0.0"\n'
    live = start(config(clip, "door", play="loop") + open_control, "--engine", "local")
    live.until((live.folder / CONTROL).exists)
    assert live.said.splitlines()[0].startswith(
        "undercam: the control interface is open to the network without TLS: 0.0.0.0: "
    )
    live.stop()
