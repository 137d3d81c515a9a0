"""Nobody else on this machine may talk to the Ray of `undercam run`, and with it run code there."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.live.ray.host_thread import TOKEN
from pipeline.live.ray.session import MARK, PREFIX
from tests.pipeline.live.ray.conftest import Live
from tests.pipeline.live.ray.test_run import config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[4]
OTHER_USER = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
OPEN = """
import sys
from pipeline.live.ray import environment
environment.prepare("local")
import os
os.environ["RAY_AUTH_MODE"] = "disabled"
import ray
ray.init("local", include_dashboard=False, _node_ip_address="127.0.0.1", logging_level="error")
@ray.remote(num_cpus=0)
class Actor:
    def begin(self):
        return 1
actor = Actor.remote()
ray.get(actor.begin.remote())
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


def environ(process: int) -> dict[str, str]:
    """The environment of one of our own processes; empty for one that has ended."""
    try:
        entries = Path(f"/proc/{process}/environ").read_bytes().decode().split("\0")
    except OSError:
        return {}
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def session_of(live: Live) -> tuple[str, Path, str]:
    """The head's address, the session's folder and the token of a run."""
    (head,) = (n for n in live.processes() if "gcs_server" in command_of(n))
    folder = Path(environ(head)[MARK])
    (port,) = folder.glob("ray/session_2*/gcs_server_port*")
    return f"127.0.0.1:{port.read_text()}", folder, environ(head)[TOKEN]


def command_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def knocked(token: str, address: str, *folders: Path) -> dict[str, Any]:
    """What another user was told."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.pipeline.live.ray.stranger", token, address, *folders],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    told: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    assert told["user"] != os.getuid()
    return told


@OTHER_USER
def test_another_user_is_refused(start: Any, clip: Path) -> None:
    live = start(config(clip, "door", play="loop"))
    live.until(lambda: "door: online" in live.said)
    address, folder, token = session_of(live)
    for wrong in ("none", "0" * 64, token[:-1] + ("0" if token[-1] != "0" else "1")):
        told = knocked(wrong, address, folder)
        assert told["refused"] == "AuthenticationError", told
        assert told["files"] == []
    # With it he would be let in: it is the token that keeps him out.
    assert knocked(token, address)["keys"] > 0
    assert live.stop()["ok"]


@OTHER_USER
def test_without_a_token_another_user_would_not_be() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OPEN],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as opened:
        assert opened.stdout
        told = knocked("none", opened.stdout.readline().strip())
    assert told["keys"] > 0
    assert "refused" not in told


def test_the_token_stands_in_environments_of_ray_and_nowhere_else(start: Any, clip: Path) -> None:
    live = start(config(clip, "door", play="loop"), "--dashboard")
    live.until(lambda: "door: online" in live.said)
    _, folder, token = session_of(live)
    assert re.fullmatch("[0-9a-f]{64}", token)
    assert folder.name.startswith(PREFIX)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    processes = live.processes()
    assert len(processes) > 6
    for process in processes:
        assert token not in command_of(process)
        if "streamlit" in command_of(process):
            assert TOKEN not in environ(process)
    for place in (folder, live.folder):
        for path in place.rglob("*"):
            if path.is_file():
                assert token.encode() not in path.read_bytes(), path
    assert live.stop()["ok"]
    assert token not in live.said
    assert not folder.exists()
    again = start(config(clip, "door", play="loop"), inside="again")
    again.until(lambda: "camera registry: reachable" in again.said)
    _, folder, other = session_of(again)
    assert other != token
    again.process.send_signal(signal.SIGKILL)
    again.process.communicate()
    third = start(config(clip, "door", play="loop"), inside="third")
    third.until(lambda: "camera registry: reachable" in third.said)
    assert not folder.exists()  # the next one removes what a killed one left
    third.stop()
