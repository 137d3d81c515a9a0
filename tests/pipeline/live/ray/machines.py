"""Further machines of a cluster, made on this one: each with processes and a disk of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pipeline.live.ray.conftest import PATIENT

TOOLS = [tool for tool in ("unshare", "mount") if shutil.which(tool) is None]
NEEDS_MACHINES = [
    pytest.mark.skipif(bool(TOOLS), reason=f"needs {', '.join(TOOLS)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes namespaces"),
]
NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")

ROOT = Path(__file__).parents[4]


@dataclass
class Machine:
    """A Ray node in namespaces of its own; what it has of the shared folder lies in `disk`."""

    disk: Path
    process: subprocess.Popen[bytes]

    def lose(self) -> None:
        """As when its power goes: SIGKILL to its first process, with which all others end."""
        self.process.kill()
        self.process.wait()

    def processes(self, title: str) -> list[int]:
        """Its processes whose title begins so, by their numbers here."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                is_its = os.readlink(process / "ns/mnt") == os.readlink(self._first() / "ns/mnt")
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if is_its and line.startswith(title):
                found.append(int(process.name))
        return found

    def kill(self, title: str) -> None:
        """kill -9 of its processes whose title begins so."""
        killed = self.processes(title)
        assert killed, f"no {title} runs there"
        for number in killed:
            os.kill(number, signal.SIGKILL)

    def _first(self) -> Path:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return Path("/proc") / children.split()[0]


def join(address: str, ip: str, disk: Path, shared: Path, log: Path) -> Machine:
    """A machine of two cores that joins the cluster and has `disk` where others have `shared`."""
    disk.mkdir(exist_ok=True)
    node = f"{sys.executable} -m tests.pipeline.live.ray.one_node {address} {ip} 2"
    inside = f"mount --bind {disk} {shared} && cd /tmp && exec {node}"
    with log.open("ab") as said:
        process = subprocess.Popen(
            [*NAMESPACES, "bash", "-c", inside],
            stdout=said,
            stderr=said,
            env=os.environ | PATIENT | {"PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
    machine = Machine(disk, process)
    try:
        wait_for(lambda: process.poll() is not None or "joined" in log.read_text(), 300)
        assert process.poll() is None, log.read_text()
    except AssertionError:
        machine.lose()
        raise
    return machine


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(is_so: Callable[[], bool], seconds: float) -> None:
    """Wait for a condition."""
    until_s = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until_s, "it did not come to pass in time"
        time.sleep(0.1)
