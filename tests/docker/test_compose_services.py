"""The services of compose.yaml that are ours, each as its container would run it: the image's
folders read only, a user without rights, and nothing to write in but what Compose mounts there.

Without a container engine: in namespaces of this machine, beside a real broker and database.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.media.sample_clip import write_sample
from tests.docker.test_docker import COMPOSE, OURS, stage
from tests.pipeline.store.conftest import _programs

ROOT = Path(__file__).parent.parent.parent
TOOLS = ("unshare", "nsenter", "setpriv", "ip", "findmnt")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.needs("data", "kafka", "postgres"),
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes namespaces"),
]
USER = 10001
PASSWORDS = ("POSTGRES_PASSWORD", "READ_PASSWORD", "PUBLISH_PASSWORD", "GRAFANA_PASSWORD")
SECRET = "l3tters4nd0nly"
IMAGE = """
set -e
mount --bind {folder}/srv /srv
mount --bind {python} /usr/local
mount -t overlay overlay -o lowerdir={folder}/etc:/etc /etc
{packages}
for place in $(findmnt -rno TARGET); do
  case $place in /proc*|/sys*|/dev*) ;; *) mount -o remount,bind,ro $place;; esac
done
mount -t tmpfs tmpfs /tmp
ip link set lo up
exec sleep 3600
"""
AS_USER = (
    f"setpriv --reuid {USER} --regid {USER} --clear-groups --bounding-set -all --inh-caps -all "
    "--no-new-privs"
)


def wait_for(is_so: Callable[[], object], most_s: float, said: Callable[[], str]) -> None:
    until_s = time.monotonic() + most_s
    while not is_so():
        assert time.monotonic() < until_s, said()
        time.sleep(0.5)


class Image:
    """The image's folders, and around them a machine with loopback alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        self._make_venv(folder / "srv/venv")
        (folder / "srv/undercam/state").mkdir(parents=True)
        self._make_etc(folder / "etc")
        packages = [path for path in sys.path if path.endswith("site-packages")]
        for number, _ in enumerate(packages):
            (folder / f"srv/packages/{number}/site-packages").mkdir(parents=True)
        binds = [
            f"mount --bind {path} /srv/packages/{number}/site-packages"
            for number, path in enumerate(packages)
        ]
        script = IMAGE.format(folder=folder, python=sys.base_prefix, packages="\n".join(binds))
        with (folder / "machine").open("wb") as log:
            self._first = subprocess.Popen(
                ["unshare", "-mpnf", "--mount-proc", "sh", "-c", script], stdout=log, stderr=log
            )
        wait_for(lambda: self._pid() is not None, 60, lambda: self.said("machine"))

    def _make_venv(self, venv: Path) -> None:
        """As the Dockerfile does, with this environment's packages beside our own."""
        version = f"python3.{sys.version_info.minor}"
        site = venv / f"lib/{version}/site-packages"
        for name in ("models", "trainer", "pipeline", "dashboard"):
            shutil.copytree(ROOT / name, site / name, ignore=shutil.ignore_patterns("__pycache__"))
        numbers = range(sum(path.endswith("site-packages") for path in sys.path))
        # Streamlit takes itself for a checkout where its folder has another name.
        shown = "".join(f"/srv/packages/{number}/site-packages\n" for number in numbers)
        (site / "packages.pth").write_text(shown)
        (venv / "bin").mkdir()
        (venv / "bin/python").symlink_to(f"/usr/local/bin/{version}")
        (venv / "pyvenv.cfg").write_text("home = /usr/local/bin\n")
        script = "#!/srv/venv/bin/python\nfrom pipeline.__main__ import main\nmain()\n"
        (venv / "bin/undercam").write_text(script)
        (venv / "bin/undercam").chmod(0o755)

    def _make_etc(self, etc: Path) -> None:
        (etc / "undercam").mkdir(parents=True)
        # This machine's own name too: Java looks it up, and there is no name server.
        names = " ".join([socket.gethostname(), *COMPOSE["services"]])
        (etc / "hosts").write_text(f"127.0.0.1 localhost {names}\n")
        user = f"undercam:x:{USER}:{USER}::/srv/undercam:/bin/sh\n"
        (etc / "passwd").write_text(Path("/etc/passwd").read_text() + user)
        write_sample(etc / "undercam/sample.mp4", seconds=10, size=(640, 360))
        sample = '[cameras.sample]\nurl = "/etc/undercam/sample.mp4"\nplay = "loop"\n'
        cameras = (ROOT / "docker/cameras.toml").read_text("utf-8")
        (etc / "undercam/cameras.toml").write_text(f"{cameras}\n{sample}")

    def _pid(self) -> int | None:
        """Of its first process, as this machine counts, once all is mounted."""
        for child in children(self._first.pid):
            if Path(f"/proc/{child}/cmdline").read_bytes().startswith(b"sleep"):
                return child
        return None

    def start(
        self, name: str, command: str, environment: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """A process in there; what it prints is in the file of that name."""
        enter = ["nsenter", "-t", str(self._pid()), "-m", "-p", "-n", "sh", "-c", command]
        with (self.folder / name).open("ab") as log:
            started = subprocess.Popen(enter, env=environment, stdout=log, stderr=log)
        self._started.append(started)
        return started

    def said(self, name: str) -> str:
        return (self.folder / name).read_text("utf-8")[-6000:]

    def run(self, command: str) -> str:
        """What a command of root prints, "" where it fails."""
        enter = ["nsenter", "-t", str(self._pid()), "-m", "-p", "-n", "sh", "-c", command]
        return subprocess.run(enter, capture_output=True, text=True, timeout=60).stdout.strip()

    def close(self) -> None:
        if pid := self._pid():
            os.kill(pid, signal.SIGKILL)  # and with it all that runs in there
        for process in (*self._started, self._first):
            process.wait(20)


def children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def fill(text: str) -> str:
    """A value of compose.yaml with the passwords of the environment in it."""
    assert set(re.findall(r"\$\{(\w+)", text)) <= set(PASSWORDS)
    return re.sub(r"\$\{\w+:\?[^}]*\}", SECRET, text)


class Service:
    """One service of compose.yaml in the image."""

    def __init__(self, image: Image, name: str) -> None:
        self.name, self._image = name, image
        self._service: dict[str, Any] = OURS[name]
        # The interpreter is elsewhere than where it was built, and may have its library beside it.
        self._environment = {"LD_LIBRARY_PATH": "/usr/local/lib"}
        for step in stage("cpu"):
            if step[0] == "ENV":
                self._environment |= dict(pair.split("=", 1) for pair in step[1:])
        here = self._environment["PATH"].replace("$PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin")
        own = {key: fill(value) for key, value in self._service["environment"].items()}
        self._environment |= {"PATH": here, **own}
        words = " ".join(["undercam", *self._service["command"]])
        self._nsenter = image.start(name, self._inside(words), self._environment)

    def _inside(self, words: str) -> str:
        """The first process of its own, with mounts as `tmpfs`, `volumes` and `shm_size` say."""
        assert self._service["read_only"]
        size = self._service.get("shm_size", "64m")
        mounts = [f"mount -t tmpfs -o size={size} tmpfs /dev/shm"]
        mounts += [
            f"mount -t tmpfs -o noexec,nosuid,nodev tmpfs {place}"
            for place in self._service["tmpfs"]
        ]
        for volume in self._service.get("volumes", []):
            if not volume.startswith("./"):  # a file of the host: it lies in `etc` of the image
                place = volume.split(":")[1]
                mounts.append(f"mount -t tmpfs -o mode=755,uid={USER},gid={USER} tmpfs {place}")
        entered = " && ".join([*mounts, "cd /srv/undercam", f"exec {AS_USER} {words}"])
        return f"exec unshare -mpf --mount-proc sh -c '{entered}'"

    @property
    def pid(self) -> int:
        """As this machine counts; the service itself sees a 1, as in a container."""
        (unshare,) = children(self._nsenter.pid)
        (pid,) = children(unshare)
        return pid

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of the service's user beside it, as `docker compose exec` runs it."""
        enter = ["nsenter", "-t", str(self.pid), "-m", "-p", "-n", *AS_USER.split(), *words]
        return subprocess.run(
            enter, env=self._environment, capture_output=True, text=True, timeout=60
        )

    def is_healthy(self) -> bool:
        """What the service's own health check says."""
        kind, *words = self._service["healthcheck"]["test"]
        assert kind == "CMD"
        return self.call(*words).returncode == 0

    def stop(self) -> int:
        os.kill(self.pid, signal.SIGTERM)
        grace_s = float(self._service.get("stop_grace_period", "10s").rstrip("s"))
        return self._nsenter.wait(grace_s)

    @property
    def said(self) -> str:
        return self._image.said(self.name)


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Image]:
    tmp_path.chmod(0o755)
    made = Image(tmp_path)
    yield made
    made.close()


def start_kafka(image: Image, data: Path) -> None:
    image.start("kafka", f"exec {data}/kafka/broker /tmp/kafka 9092")
    is_up = f"{sys.executable} -c 'import socket; socket.create_connection((\"kafka\", 9092))'"
    wait_for(lambda: image.run(f"{is_up} && echo up"), 180, lambda: image.said("kafka"))


def start_postgres(image: Image) -> Callable[[str], str]:
    """Returns what gives the answer to a query of its user."""
    programs = _programs()
    data = "/tmp/postgres/data"
    start = " && ".join(
        [
            f"install -d -o postgres -g postgres /tmp/postgres && echo {SECRET} > /tmp/password",
            "chmod 644 /tmp/password && cd /tmp/postgres",
            "as_postgres='setpriv --reuid postgres --regid postgres --clear-groups'",
            f"$as_postgres {programs}/initdb -D {data} -U undercam -A scram-sha-256 --no-sync "
            "--pwfile /tmp/password",
            f"exec $as_postgres {programs}/postgres -D {data} -k /tmp/postgres "
            "-c fsync=off -c listen_addresses=127.0.0.1",
        ]
    )
    image.start("postgres", start)
    psql = f"PGPASSWORD={SECRET} {programs}/psql -h postgres -U undercam -At"
    create = f"{psql} -d postgres -c 'CREATE DATABASE undercam'"
    wait_for(lambda: image.run(create), 120, lambda: image.said("postgres"))
    return lambda query: image.run(f'{psql} -d undercam -c "{query}"')


def test_each_service_works_without_rights_on_a_read_only_image(image: Image, data: Path) -> None:
    start_kafka(image, data)
    ask = start_postgres(image)
    services = {name: Service(image, name) for name in ("store", "dashboard", "run")}

    def said() -> str:
        return "\n".join(f"{name}: {one.said}" for name, one in services.items())

    wait_for(lambda: int(ask("SELECT count(*) FROM observations") or 0) >= 20, 300, said)
    wait_for(lambda: services["run"].is_healthy() and services["dashboard"].is_healthy(), 60, said)
    for service in services.values():
        status = Path(f"/proc/{service.pid}/status").read_text()
        assert re.search(rf"^Uid:\t{USER}\t{USER}", status, re.M)
        assert re.search(r"^CapEff:\t0+$", status, re.M)
        assert re.search(r"^NoNewPrivs:\t1$", status, re.M)
        for place in ("/srv/venv", "/srv/undercam", "/etc/undercam", "/var/tmp"):
            assert "Read-only file system" in service.call("touch", f"{place}/new").stderr
    assert services["run"].call("ls", "-A", "/srv/undercam/state").stdout.split() == ["outbox"]
    assert {name: services[name].stop() for name in ("run", "dashboard", "store")} == dict.fromkeys(
        services, 0
    )
    assert SECRET not in said()
