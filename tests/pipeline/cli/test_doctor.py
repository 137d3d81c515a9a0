"""`undercam doctor` reports what is down, missing or in use, with a remedy, in bounded time."""

from __future__ import annotations

import gc
import json
import os
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from pipeline.cli import doctor as doctor_module
from pipeline.cli.app import run
from pipeline.cli.checks.base import Check, Finding, run_checks, warning
from pipeline.cli.checks.cameras import checks_of_cameras
from pipeline.cli.checks.machine import checks_of_machine, network_share
from pipeline.cli.checks.parts import checks_of_parts
from pipeline.cli.checks.services import checks_of_services
from pipeline.config import Settings
from pipeline.errors import ModelError
from pipeline.media.video import VideoWriter
from pipeline.service_settings import BusSettings
from pipeline.settings import CameraSettings
from pipeline.store.engine import for_writing, open_store
from pipeline.store.registry import register
from tests.pipeline.broker import ALICE, BOB, Broker


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(**sections: Any) -> Settings:
    return Settings.model_validate(sections)


def run_named(checks: dict[str, Check], *names: str) -> list[Finding]:
    return list(run_checks({name: checks[name] for name in names or checks}).values())


def test_every_outcome_of_a_check_is_a_finding() -> None:
    def raise_unexpected() -> str:
        raise ZeroDivisionError("at rtsp://admin:s3cret@10.0.0.7/live")

    def raise_known() -> str:
        raise ModelError("no CUDA device", "cuda", "set emotion.device = 'cpu'")

    hangs = threading.Event()
    checks = {
        "fine": Check(lambda: "as it should be"),
        "nearly": Check(lambda: warning("little room", "free space")),
        "unexpected": Check(raise_unexpected),
        "known": Check(raise_known),
        "late": Check(lambda: str(hangs.wait()), timeout_s=0.2),
    }
    began_s = time.monotonic()
    found = run_checks(checks)
    hangs.set()
    assert time.monotonic() - began_s < 3
    assert list(found) == list(checks)
    assert [one.status for one in found.values()] == ["ok", "warn", "fail", "fail", "fail"]
    assert [one.exit_code for one in found.values()] == [0, 0, 1, 5, 4]
    assert "ZeroDivisionError: at rtsp://***" in found["unexpected"].found
    assert "s3cret" not in str(found)
    assert found["known"].found == "no CUDA device: cuda"
    assert found["late"].found == "no answer within 0 s"


def test_the_command_ends_as_the_first_failure_and_names_every_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {
        "store": Finding("ok", "there"),
        "bus": Finding("fail", "broker cannot be reached: kafka://x", "start it", 4),
        "disk": Finding("warn", "1.0 GiB free", "free space"),
        "weights": Finding("fail", "no such weights: x", "give others", 5),
    }
    monkeypatch.setattr(doctor_module, "check_all", lambda _: found)
    assert run(["doctor"]) == 4
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok", "FAIL", "warn", "FAIL"]
    assert lines[1].endswith("broker cannot be reached: kafka://x: start it")
    assert run(["doctor", "--json"]) == 4
    told = json.loads(capsys.readouterr().out)
    assert not told["ok"]
    assert told["checks"]["disk"] == {
        "ok": True,
        "status": "warn",
        "found": "1.0 GiB free",
        "remedy": "free space",
    }
    del found["bus"], found["weights"]
    assert run(["doctor", "--json"]) == 0


@pytest.mark.parametrize(
    ("emotion", "what"),
    [
        ({"device": "cuda:99"}, "CUDA device: cuda:99"),
        ({"device": "toaster"}, "not a device: toaster"),
        ({"device": "meta"}, "not a device: meta"),
    ],
)
def test_a_device_that_is_not_there(emotion: dict[str, str], what: str) -> None:
    checks = checks_of_parts(settings(emotion={"routes": {"fast": emotion}}))
    for found in run_named(checks, "device", "weights"):
        assert (found.status, found.exit_code) == ("fail", 5)
        assert what in found.found


def test_weights_and_network_that_are_not_there() -> None:
    for route in ({"weights": "nobodys"}, {"degraded_weights": "nobodys"}):
        emotion = {"routes": {"fast": route}}
        (found,) = run_named(checks_of_parts(settings(emotion=emotion)), "weights")
        assert (found.exit_code, "no such weights: nobodys" in found.found) == (5, True)
    detector = {"name": "yunet", "model": "none.onnx"}
    (found,) = run_named(checks_of_parts(settings(detector=detector)), "detector")
    assert (found.status, "none.onnx" in found.found) == ("fail", True)


def test_a_device_without_a_gpu_of_ray_and_a_cluster_that_is_not_there(free_port: int) -> None:
    cluster = {"address": f"ray://127.0.0.1:{free_port}"}
    (engine,) = run_named(checks_of_parts(settings(cluster=cluster)), "engine")
    assert engine.exit_code == 4
    assert "Connection refused" in engine.remedy
    emotion = {"routes": {"fast": {"device": "cuda"}}}
    (engine,) = run_named(checks_of_parts(settings(cluster=cluster, emotion=emotion)), "engine")
    assert engine.exit_code == 2
    assert "device = 'cuda' without a share of a GPU" in engine.found


def test_variables_that_are_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = {"user": "env:A_USER", "password": "env:A_PASSWORD"}
    checks = checks_of_services(settings(bus=bus))
    (found,) = run_named(checks, "secrets")
    assert (found.status, found.exit_code) == ("fail", 2)
    assert "env:A_USER, env:A_PASSWORD" in found.found
    monkeypatch.setenv("A_USER", "alice")
    monkeypatch.setenv("A_PASSWORD", "s3cret")
    (found,) = run_named(checks, "secrets")
    assert found == Finding("ok", "2 references resolve")


def store_of(url: str) -> Finding:
    (found,) = run_named(checks_of_services(settings(store={"url": url})), "store")
    return found


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert "created at the first start" in store_of("sqlite:///state/undercam.db").found
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    assert store_of("sqlite:///file/undercam.db").exit_code == 4
    assert store_of("nonsense").exit_code == 2


@pytest.mark.parametrize(
    "kind", ["sqlite", pytest.param("pg", marks=pytest.mark.needs("postgres"))]
)
def test_a_database_at_work_and_one_that_is_newer(
    kind: str, request: pytest.FixtureRequest
) -> None:
    is_file = kind == "sqlite"
    url = "sqlite:///my.db" if is_file else request.getfixturevalue("postgres_url")
    if url.startswith("postgresql"):
        assert "tables are created" in store_of(url).found
    engine = open_store(url)
    assert store_of(url).status == "ok"
    assert "writable" in store_of(url).found
    with for_writing(engine).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0003'"))
    assert "schema 0003, migrated to" in store_of(url).found
    with for_writing(engine).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'later'"))
    engine.dispose()
    assert "newer than this version" in store_of(url).found


def test_databases_that_refuse(tmp_path: Path, free_port: int) -> None:
    (tmp_path / "text.db").write_text("no database, and far too long for the head of one" * 9)
    assert "not a SQLite database" in store_of("sqlite:///text.db").found
    found = store_of(f"postgresql://bob:s3cret@127.0.0.1:{free_port}/u")
    assert (found.exit_code, "s3cret" in str(found)) == (4, False)
    engine = open_store("sqlite:///my.db", busy_timeout_s=0.1)
    with for_writing(engine).begin():
        busy = {"url": "sqlite:///my.db", "busy_timeout_s": 0.1}
        (found,) = run_named(checks_of_services(settings(store=busy)), "store")
    engine.dispose()
    assert "database is locked" in found.found


MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:40 / /mnt/office rw,relatime shared:1 - nfs4 server:/export rw
24 22 0:41 / /mnt/a\\040b rw,relatime - cifs //server/share rw
25 23 254:1 / /mnt/office/local rw - xfs /dev/vdb rw
nonsense
"""


def test_network_shares_are_known_by_their_mount() -> None:
    assert network_share(Path("/srv/state/undercam.db"), MOUNTS) is None
    assert network_share(Path("/mnt/office/undercam.db"), MOUNTS) is None  # not there: the root's
    real = f"{MOUNTS}26 22 0:42 / {os.path.realpath('.')} rw - nfs4 server:/export rw\n"
    assert network_share(Path("state/undercam.db"), real) == "nfs4"
    assert network_share(Path(), real.replace("nfs4 server", "ext4 server")) is None
    assert network_share(Path(), "") is None


def test_a_database_on_a_share_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    open_store("sqlite:///state/undercam.db").dispose()
    name = "pipeline.cli.checks.services.network_share"
    monkeypatch.setattr(name, lambda path: "cifs")
    found = store_of("sqlite:///state/undercam.db")
    assert (found.status, "cifs" in found.found) == ("warn", True)
    assert "PostgreSQL" in found.remedy


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broker_that_is_dead(free_port: int) -> None:
    bus = {"url": f"kafka://127.0.0.1:{free_port}", "timeout_s": 1.0}
    (found,) = run_named(checks_of_services(settings(bus=bus)), "bus")
    assert (found.status, found.exit_code) == ("fail", 4)
    assert "broker" in found.found
    gc.collect()  # sockets that the client leaves open are reported here, not by a later test


@pytest.mark.needs("kafka")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broker_at_work_and_what_it_forbids(broker: Broker, bus: BusSettings) -> None:
    def found(**changed: Any) -> Finding:
        told = bus.model_copy(update=changed)
        (one,) = run_named(checks_of_services(settings(bus=told.model_dump())), "bus")
        return one

    assert "4 topics will be made" in found().found
    assert "no topics" in found(create_topics=False).found
    login = {"url": broker.login_url, "security": "SASL_PLAINTEXT"}
    alice = {"user": ALICE[0], "password": ALICE[1]}
    bob = {"user": BOB[0], "password": BOB[1], "sasl_mechanism": "PLAIN"}
    assert found(**login, **alice).status == "ok"
    barred = found(**login, **bob)
    assert (barred.status, "not allowed" in barred.found) == ("fail", True)
    wrong = found(**login, **(alice | {"password": "wrong-s3cret"}))
    assert (wrong.exit_code, "wrong-s3cret" in str(wrong)) == (4, False)


def test_ports_that_are_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for section in ("dashboard", "metrics"):
            checks = checks_of_services(settings(**{section: {"port": port}}))
            (found,) = run_named(checks, f"{section} port")
            assert (found.status, found.exit_code) == ("fail", 4)
            assert "already in use" in found.remedy
    checks = checks_of_services(settings(dashboard={"port": port}, metrics={"port": port}))
    free, same = run_named(checks, "dashboard port", "metrics port")
    assert (free.status, same.exit_code) == ("ok", 2)


def test_folders_that_cannot_be_used_and_are_open(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    in_a_file = settings(outbox={"folder": "file/outbox"})
    assert run_named(checks_of_machine(in_a_file), "state folder")[0].exit_code == 4
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o755)
    modes = run_named(checks_of_machine(settings()), "file modes")[0]
    assert (modes.status, "state (755)" in modes.found) == ("warn", True)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o755  # reported, not changed


@pytest.mark.parametrize(
    ("free", "status"), [(50 << 20, "fail"), (1 << 30, "warn"), (9 << 30, "ok")]
)
def test_a_disk_that_is_nearly_full(
    free: int, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=free)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    assert run_named(checks_of_machine(settings()), "disk")[0].status == status


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 64, 48, 25) as video:
        for _ in range(5):
            video.write(np.zeros((48, 64, 3), np.uint8))
    return path


def test_every_camera_is_opened(clip: Path, free_port: int) -> None:
    url = "sqlite:///state/undercam.db"
    engine = open_store(url)
    register(engine, "added", CameraSettings(url=f"rtsp://127.0.0.1:{free_port}/live"))
    engine.dispose()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cameras = {
            "file": {"url": str(clip)},
            "gone": {"url": "gone.mp4"},
            "off": {"url": "gone.mp4", "enabled": False},
            "unset": {"url": "env:NO_SUCH_CAMERA"},
            "silent": {"url": f"rtsp://127.0.0.1:{silent.getsockname()[1]}/live"},
            "calls": {"url": "listen://127.0.0.1:0/door"},
        }
        told = settings(
            cameras=cameras,
            store={"url": url},
            source={"open_timeout_s": 1.0, "read_timeout_s": 1.0},
        )
        found = run_checks(checks_of_cameras(told))
    assert list(found) == [f"camera {name}" for name in sorted([*cameras, "added"])]
    states = {name.split()[1]: (one.status, one.exit_code) for name, one in found.items()}
    assert states == {
        "added": ("fail", 3),
        "calls": ("ok", 0),
        "file": ("ok", 0),
        "gone": ("fail", 3),
        "off": ("ok", 0),
        "silent": ("fail", 3),
        "unset": ("fail", 2),
    }
    assert found["camera unset"].remedy == "set the environment variable NO_SUCH_CAMERA"


def test_without_cameras_it_says_how_to_add_one() -> None:
    (found,) = run_named(checks_of_cameras(settings()))
    assert (found.status, "cameras add" in found.remedy) == ("warn", True)


@pytest.mark.slow
def test_all_of_it_on_a_fresh_machine(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {check["status"] for check in told["checks"].values()} <= {"ok", "warn"}
    assert list(tmp_path.iterdir()) == []
