"""What a local Ray is, and is not: reachable from this machine alone, and never on the disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[4]
LOOK = """
import json, os, pathlib, sys
from pipeline.live.ray.environment import prepare
prepare("local")
import numpy, ray
import psutil  # Ray carries it
from pipeline.live.ray.connection import STORE_BYTES, connect_ray

def addresses():
    # Of every process of this Ray, and of ourselves.
    ours = psutil.Process()
    listening = []
    for process in (ours, *ours.children(recursive=True)):
        for socket in process.net_connections("inet"):
            if socket.status == psutil.CONN_LISTEN:
                listening.append(socket.laddr.ip)
    return sorted(set(listening))

with connect_ray("local"):
    @ray.remote(num_cpus=0)
    class Actor:
        def where(self):
            return addresses()
    actor = Actor.remote()
    inside = ray.get(actor.where.remote())
    crops = numpy.zeros(STORE_BYTES // 3, numpy.uint8)
    kept = [ray.put(crops) for _ in range(5)]  # more than the store holds
    session = pathlib.Path(ray._private.worker._global_node.get_session_dir_path())
    spilt = [str(path) for path in session.rglob("*") if "spill" in path.name]
    ours = psutil.Process()
    maps = "".join(
        pathlib.Path(f"/proc/{process.pid}/maps").read_text()
        for process in (ours, *ours.children(recursive=True))
    )
    # Files that the store lives in, the removed ones too.
    stores = {line.split()[5] for line in maps.splitlines() if "plasma" in line.split()[-1] or
              (len(line.split()) > 6 and "plasma" in line)}
    print(json.dumps([sorted({*addresses(), *inside}), sorted(stores), spilt]))
"""


def looked(script: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"HOME": str(home), "PYTHONPATH": str(ROOT)} | environment,
    )


def test_nobody_else_can_reach_it_and_no_crop_reaches_a_disk(tmp_path: Path) -> None:
    ended = looked(LOOK, tmp_path)
    assert ended.returncode == 0, ended.stderr
    found: list[Any] = json.loads(ended.stdout.splitlines()[-1])
    addresses, stores, spilt = found
    assert set(addresses) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, addresses
    assert addresses != []
    assert spilt == []
    assert len(stores) > 1  # more than one file was needed
    assert all(store.startswith("/dev/shm/") for store in stores), stores
    assert [path.name for path in tmp_path.iterdir()] == []  # no token, no device id


def test_a_cluster_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "undercam.toml").write_text("")
    ended = subprocess.run(
        [sys.executable, "-m", "pipeline", "run", "--address", "127.0.0.1:1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert ended.returncode == 4
    no_camera, error = ended.stderr.splitlines()
    assert "no camera to read: add one by" in no_camera
    assert error.startswith("undercam: no Ray cluster there: 127.0.0.1:1: start it, or set")


PLACED = """
import os, sys
from pipeline.live.ray.environment import prepare
prepare("local")
import ray
from pipeline.config import load
from pipeline.live.ray import connection
from pipeline.live.ray.actors import start_pools
from pipeline.live.engine import Job
connection.LOCAL_OPTIONS["num_gpus"] = int(os.environ["GPUS"])
fast = {"replicas": 2, "device": "cuda", "gpus": 1.0}
settings = load(emotion={"routes": {"fast": fast}})
with connection.connect_ray("local"):
    for pool in start_pools(Job(settings)).values():
        try:
            ray.get(pool.names.remote(), timeout=float(os.environ["PATIENCE_S"]))
        except ray.exceptions.GetTimeoutError:
            print("waits")
        except ray.exceptions.RayError as error:
            print("began" if "no CUDA device" in str(error) else error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gpus", "patience_s", "found"), [(2, 120, ["began", "began"]), (0, 10, ["waits", "waits"])]
)
def test_replicas_take_the_gpus_that_are_set_aside_for_them(
    tmp_path: Path, gpus: int, patience_s: int, found: list[str]
) -> None:
    """Ray is told of GPUs that are not there: a replica that it places begins, and says so."""
    ended = looked(PLACED, tmp_path, GPUS=str(gpus), PATIENCE_S=str(patience_s))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == found
