"""`undercam run` as a user starts it: a process of its own, with a real Ray inside."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.live.ray.host_thread import TOKEN
from pipeline.live.ray.session import base_folder, clear
from pipeline.media.sample_clip import write_sample

PATIENCE_S = 90.0
ROOT = Path(__file__).parents[4]
START = ROOT / "docker/cluster/start"
HEALTH = dict(re.findall(r"(RAY_health_check_\w+)=(\d+)", START.read_text("utf-8")))
"""How soon a cluster's head notices that a machine is gone, as `ray up` sets it."""
PATIENT = HEALTH | {"RAY_raylet_start_wait_time_s": "300"}
"""For the processes of a cluster, on a machine that is busy with something else."""


@dataclass
class Live:
    """A running `undercam run`, its folder, and what it said."""

    folder: Path
    process: subprocess.Popen[str]
    database: Path = field(init=False)

    def __post_init__(self) -> None:
        self.database = self.folder / "state" / "undercam.db"

    def rows(self, query: str) -> list[Any]:
        """What SQL answers; nothing while there is no database."""
        if not self.database.exists():
            return []
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []
        finally:
            connection.close()

    def until(self, condition: Callable[[], Any], seconds: float = PATIENCE_S) -> float:
        """Wait for a condition; returns how many seconds it took."""
        began = time.monotonic()
        while not condition():
            assert self.process.poll() is None, self.said
            assert time.monotonic() - began < seconds, self.said
            time.sleep(0.05)
        return time.monotonic() - began

    @property
    def said(self) -> str:
        """Standard error so far."""
        return (self.folder / "stderr").read_text(encoding="utf-8")

    def actors(self, name: str) -> list[int]:
        """Process numbers of the actors of a class, of this run."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                title = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                inside = os.readlink(process / "cwd")
            except OSError:
                continue
            if title.startswith(f"ray::{name}") and Path(inside) == self.folder:
                found.append(int(process.name))
        return found

    def kill(self, name: str, most: int | None = None) -> None:
        """kill -9 of the actors of a class, of so many at most."""
        killed = self.actors(name)[:most]
        assert killed, f"no {name} runs"
        for process in killed:
            os.kill(process, signal.SIGKILL)

    def processes(self) -> list[int]:
        """Everything that belongs to it, however it is related."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if os.getsid(int(process.name)) == self.process.pid:
                    (process / "exe").readlink()  # neither the kernel's, nor dead already
                    found.append(int(process.name))
            except OSError:
                continue
        return found

    def end(self) -> dict[str, Any]:
        """Wait until it ends by itself; returns what it printed."""
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, self.said
        result: dict[str, Any] = json.loads(out.splitlines()[-1])
        return result

    def stop(self) -> dict[str, Any]:
        """SIGTERM, as a service manager would."""
        self.process.send_signal(signal.SIGTERM)
        return self.end()


Start = Callable[..., Live]


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real faces, from photographs in the installed packages."""
    path = tmp_path_factory.mktemp("clips") / "sample.mp4"
    write_sample(path)
    return path


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `undercam run` on a configuration, in the test's folder or one inside it."""
    begun: list[Live] = []

    def started(config: str, *options: str, inside: str = "") -> Live:
        folder = tmp_path / inside
        folder.mkdir(exist_ok=True)
        (folder / "undercam.toml").write_text(config, encoding="utf-8")
        # -P: as the installed command, it does not search the current folder.
        command = [sys.executable, "-P", "-m", "pipeline", "run", "-c", "undercam.toml", "--json"]
        with (folder / "stderr").open("a") as errors:
            process = subprocess.Popen(
                [*command, *options],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[4])},
                start_new_session=True,
            )
        begun.append(Live(folder, process))
        return begun[-1]

    yield started
    for live in begun:
        if live.process.poll() is None:
            live.process.kill()
            live.process.communicate()
    clear(base_folder())


def python_path() -> str:
    """Our packages, and what was on the path before."""
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture
def mode() -> str:
    """Whether the cluster asks for a token."""
    return "token"


@pytest.fixture
def nodes() -> int:
    """How many nodes the cluster has."""
    return 1


@pytest.fixture
def head() -> dict[str, Any]:
    """Options of the cluster's head."""
    return {}


@pytest.fixture
def address(
    mode: str,
    nodes: int,
    head: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """Of a cluster whose processes live in a folder of their own."""
    # Whoever joins would look for it at this machine's other address.
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    monkeypatch.setenv(TOKEN, "a" * 64)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.pipeline.live.ray.nodes", str(nodes), json.dumps(head)],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | PATIENT | {"PYTHONPATH": python_path()},
    ) as cluster:
        assert cluster.stdout
        found = cluster.stdout.readline().strip()
        assert found, "the cluster did not start"
        yield found
