"""`ray up cluster.yaml` for real, over ssh: in namespaces of its own, so that its ports, its
processes and what `ray stop` ends are nobody else's."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
TOOLS = ("ssh", "ssh-keygen", "/usr/sbin/sshd", "rsync", "unshare", "nsenter", "ip", "ffmpeg")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.needs("chromium", "data", "ffmpeg", "kafka"),
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes namespaces"),
]
INSIDE = """
mount --bind {folder}/passwd /etc/passwd && ip link set lo up && mkdir -p /run/sshd
exec sleep 3600
"""
SSHD = """
HostKey {folder}/hostkey
AuthorizedKeysFile {folder}/home/.ssh/authorized_keys
PasswordAuthentication no
StrictModes no
PidFile none
"""


BROKER = 9092
LOOK = """
import sys
from playwright.sync_api import sync_playwright

address, chromium = sys.argv[1:]
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    tab = browser.new_page()
    tab.set_default_timeout(120_000)
    tab.goto(address)
    row = tab.locator(".uc-table tr").filter(has_text="camera").filter(has_text="online")
    row.first.wait_for()
    print(row.first.inner_text())
    tab.goto(f"{address}/tracks")
    tab.locator("[data-key*=camera]").first.wait_for()
"""
"""A browser on the machine that waits for the camera on the first page, and prints its row; then
for a face of it among the tracks."""
SETTINGS = "~/undercam/docker/cluster/undercam.toml"


class Machine:
    """A machine within this one: loopback alone, its own processes, and root's home in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        (self.home / ".ssh").mkdir(parents=True)
        # For a machine that is busy with something else.
        (self.home / ".bashrc").write_text("export RAY_raylet_start_wait_time_s=300\n", "utf-8")
        passwd = Path("/etc/passwd").read_text("utf-8").splitlines()
        others = [line for line in passwd if not line.startswith("root:")]
        root = f"root:x:0:0:root:{self.home}:/bin/bash"
        (folder / "passwd").write_text("\n".join([root, *others]) + "\n", "utf-8")
        for name in ("key", "hostkey"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(command, check=True)
        shutil.copy(folder / "key.pub", self.home / ".ssh/authorized_keys")
        (folder / "sshd_config").write_text(SSHD.format(folder=folder), "utf-8")
        self._install()
        script = INSIDE.format(folder=folder)
        self._first = subprocess.Popen(["unshare", "-mpnf", "--mount-proc", "bash", "-c", script])
        wait_for(lambda: self._pid() is not None, 10)

    def _install(self) -> None:
        """What `make cluster-setup` would install, from this environment."""
        venv = self.home / "undercam/.venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
        (site,) = venv.glob("lib/python3*/site-packages")
        packages = [path for path in sys.path if path.endswith("site-packages")]
        (site / "here.pth").write_text("\n".join([f"{self.home}/undercam", *packages]), "utf-8")
        entries = {
            "ray": "from ray.scripts.scripts import main",
            "undercam": "from pipeline.__main__ import main",
            "supervisord": "from supervisor.supervisord import main",
        }
        for name, line in entries.items():
            script = venv / "bin" / name
            script.write_text(f"#!{venv}/bin/python\n{line}\nmain()\n", "utf-8")
            script.chmod(0o755)
        for stamp in (".cluster", ".demo"):
            (venv / stamp).touch()

    def _pid(self) -> int | None:
        """Of its first process, as this machine counts."""
        children = Path(f"/proc/{self._first.pid}/task/{self._first.pid}/children")
        with suppress(OSError):
            for child in children.read_text().split():
                if b"sleep" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
        return None

    def _enter(self, command: str) -> list[str]:
        path = f"{self.home}/undercam/.venv/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        environment = [
            f"HOME={self.home}",
            f"PATH={path}",
            "TERM=dumb",
            "RAY_USAGE_STATS_ENABLED=0",
        ]
        enter = ["nsenter", "-t", str(self._pid()), "-m", "-p", "-n", "env", "-i", *environment]
        return [*enter, "bash", "-c", f"cd {ROOT} && {command}"]

    def run(self, command: str, timeout_s: float = 300) -> str:
        """What a command prints; its shell is gone when this returns."""
        done = subprocess.run(
            self._enter(command),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
        )
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout

    def type_in(self, command: str) -> dict[str, Any]:
        """What a command prints as JSON, of a user who has come by ssh."""
        (self.folder / "typed").write_text(f"cd ~/.undercam && undercam {command} --json", "utf-8")
        said = self.run(f"bash -i {self.folder}/typed 2>> {self.folder}/typed.err")
        found: dict[str, Any] = json.loads(said)
        return found

    def start(self, command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._enter(command), start_new_session=True)

    def commands(self) -> list[str]:
        """What runs on it, but for its first process, the broker, and this look."""
        listed = self.run("ps -eo stat=,args=").splitlines()
        lines = [line.split(None, 1) for line in listed]
        return [
            line[1]
            for line in lines
            if not line[0].startswith("Z")
            and not line[1].startswith(("sleep 3600", "ps ", "bash -c", "ssh"))
            and "/kafka/" not in line[1]
        ]

    def close(self) -> None:
        if pid := self._pid():
            os.kill(pid, signal.SIGKILL)
        self._first.wait()

    def observations(self) -> int:
        return observations_in(self.home / ".undercam/state/undercam.db")

    def wait_for_more(self, before: int, most_s: float = 120) -> None:
        wait_for(lambda: self.observations() > before, most_s)


def wait_for(is_so: Callable[[], object], most_s: float) -> None:
    until_s = time.monotonic() + most_s
    while not is_so():
        assert time.monotonic() < until_s, "it did not come to pass in time"
        time.sleep(0.2)


def observations_in(database: Path) -> int:
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as found,
    ):
        return int(found.execute("select count(*) from observations").fetchone()[0])
    return 0


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.close()


@pytest.fixture
def broker(machine: Machine, data: Path) -> Iterator[str]:
    """The address of a Kafka broker on the machine."""
    process = machine.start(
        f"{data}/kafka/broker {machine.folder}/broker {BROKER} > /dev/null 2>&1"
    )
    yield f"kafka://127.0.0.1:{BROKER}"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_ray_up_brings_everything_and_ray_down_ends_it(
    machine: Machine, data: Path, broker: str
) -> None:
    cluster = yaml.safe_load((ROOT / "cluster.yaml").read_text("utf-8"))
    shutil.copytree(ROOT / "docker", machine.folder / "docker")
    with (machine.folder / "docker/cluster/undercam.toml").open("a") as settings:
        settings.write(f'[bus]\nurl = "{broker}"\n')
    cluster["file_mounts"]["~/undercam/docker"] = str(machine.folder / "docker")
    cluster["auth"] = {
        "ssh_user": "root",
        "ssh_private_key": str(machine.folder / "key"),
        # Each connection is an sshd of its own, on no port.
        "ssh_proxy_command": f"/usr/sbin/sshd -i -f {machine.folder}/sshd_config",
    }
    file = machine.folder / "cluster.yaml"
    file.write_text(yaml.safe_dump(cluster), "utf-8")

    said = machine.run(f"ray up -y {file}")
    assert "rtsp://127.0.0.1:8554/camera" in said
    (page,) = re.findall(r"http://127\.0\.0\.1:8501", said)

    clip = data / "media/pyfeat_single_face.mp4"
    push = machine.start(
        f"while ! ffmpeg -loglevel error -re -stream_loop -1 -i {clip} -c:v libx264 "
        "-preset ultrafast -tune zerolatency -g 25 -an -f rtsp -rtsp_transport tcp "
        "rtsp://127.0.0.1:8554/camera; "
        "do sleep 1; done"
    )
    try:
        machine.wait_for_more(0)
        # The shell of `ray up` is long gone: the page is as it was printed.
        (machine.folder / "look.py").write_text(LOOK, "utf-8")
        row = machine.run(f"python {machine.folder}/look.py {page} {shutil.which('chromium')}")
        assert "online" in row
        # What the topics hold from their first record on is what was stored.
        stored = machine.observations()
        again = "UNDERCAM_BUS__GROUP=again UNDERCAM_STORE__URL=sqlite:///again.db"
        toml = machine.folder / "docker/cluster/undercam.toml"
        reader = machine.start(f"cd {machine.folder} && {again} undercam store -c {toml}")
        try:
            wait_for(lambda: observations_in(machine.folder / "again.db") >= stored > 0, 120)
        finally:
            os.killpg(reader.pid, signal.SIGKILL)
            reader.wait()
        checks = machine.type_in(f"doctor -c {SETTINGS}")["checks"]
        assert {name: one["found"] for name, one in checks.items() if one["status"] == "fail"} == {}
        # The head's `undercam run` is killed, and begins again.
        machine.run("pkill -9 -f '[u]ndercam run'")
        machine.wait_for_more(machine.observations() + 20, 240)
        # `ray up` after a change of the settings: one more camera is expected.
        with toml.open("a") as settings:
            settings.write('[cameras.second]\nurl = "listen://0.0.0.0:8555/second"\n')
        machine.run(f"ray up -y {file}")
        before = machine.observations()
        # `ray up` does not wait until `undercam run` has read its settings.
        listing = f"cameras list -c {SETTINGS}"
        wait_for(lambda: machine.type_in(listing)["cameras"].keys() == {"camera", "second"}, 120)
        machine.wait_for_more(before, 240)
    finally:
        os.killpg(push.pid, signal.SIGKILL)
        push.wait()

    ended = machine.run(f"ray down -y {file} 2>&1")
    until_s = time.monotonic() + 60
    while (left := machine.commands()) and time.monotonic() < until_s:
        time.sleep(0.5)
    assert left == [], ended[-2000:]
