"""Constructors do nothing that lives on: threads are started by `start`, and by nothing else."""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.closing import Service
from pipeline.config import Settings
from pipeline.holder import Holder
from pipeline.live.camera_run import CameraRun, Parts
from pipeline.live.camera_worker import CameraWorker
from pipeline.live.control import ControlServer
from pipeline.live.discovery import Discovery
from pipeline.live.engine import Job, Startup, State
from pipeline.live.leases import Lease
from pipeline.live.local_engine import LocalEngine
from pipeline.live.local_fleet import LocalFleet
from pipeline.live.local_pool import LocalPool
from pipeline.live.lost_runs import LostRunKeeper
from pipeline.live.pool import ClassifierPool
from pipeline.live.relay_service import RelayService
from pipeline.live.state_publishing import NoPublisher
from pipeline.live.store_consumer import StoreService
from pipeline.metrics import CameraMetrics
from pipeline.settings import CameraSettings
from pipeline.stages.classify import Classify
from pipeline.stages.detect import Detect
from pipeline.store.leases import LeaseKeeper
from pipeline.store.registry import RegistryWatch
from pipeline.store.retention import ErasureWatch

LIVE = Path(__file__).parents[3] / "pipeline" / "live"
STARTERS = {"start", "submit", "run_forever", "start_http_server", "serve", "create_task"}
URL = "sqlite:///state/rows.db"
LEASE = Lease("door", 1, CameraSettings(url="clip.mp4"))


def _engine(settings: Settings, detect: Detect, classify: Classify) -> LocalEngine:
    cameras = {"door": LEASE.settings}
    return LocalEngine(
        Job(settings, cameras=cameras), Startup(), detect=detect, open_classifier=lambda: classify
    )


def _camera_run(settings: Settings, detect: Detect, classify: Classify) -> CameraRun:
    return CameraRun(LEASE, Parts(settings, detect, CameraMetrics(), NoPublisher()), classify)


def _ray_thread(*_: Any) -> Any:
    from pipeline.live.ray.host_thread import RayHostThread

    return RayHostThread({})


MAKERS: dict[str, Callable[[Settings, Detect, Classify], Any]] = {
    "CameraRun": _camera_run,
    "CameraWorker": lambda s, d, c: CameraWorker(s, lambda *_: c, detect=d),
    "ClassifierPool": lambda s, d, c: ClassifierPool(c.routes["fast"], s.emotion.routes.fast),
    "ControlServer": lambda s, d, c: ControlServer(s, State),
    "LeaseKeeper": lambda s, d, c: LeaseKeeper(URL, 1.0, Holder.here(), 6.0),
    "LocalEngine": _engine,
    "LocalFleet": lambda s, d, c: LocalFleet(lambda: pytest.fail("nobody asked for a worker")),
    "LocalPool": lambda s, d, c: LocalPool(s, lambda: c),
    "RayHostThread": _ray_thread,
    "ErasureWatch": lambda s, d, c: ErasureWatch(URL, 1.0, None),
    "LostRunKeeper": lambda s, d, c: LostRunKeeper(URL, 1.0),
    "RegistryWatch": lambda s, d, c: RegistryWatch(URL, 1.0),
    "Discovery": lambda s, d, c: Discovery(s),
    "RelayService": lambda s, d, c: RelayService(s),
    "StoreService": lambda s, d, c: StoreService(s),
}


@pytest.mark.parametrize("name", MAKERS)
def test_no_thread_lives_before_start(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    detect: Detect,
    classify: Classify,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = threading.enumerate()
    made = MAKERS[name](settings, detect, classify)
    assert threading.enumerate() == before
    assert list(tmp_path.iterdir()) == []  # nor is any file made
    if isinstance(made, Service):
        made.close()  # without `start`, and twice
        made.close()
        assert threading.enumerate() == before


def test_every_class_that_keeps_a_thread_is_tried_here() -> None:
    """One that is added later is made above too."""
    found = {
        node.name
        for path in LIVE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and _keeps_thread(node)
    }
    assert found >= {"CameraRun", "LocalFleet", "LocalPool", "RelayService", "SupervisorService"}
    # The supervisor's is made by LocalEngine.
    assert found - {"SupervisorService"} <= MAKERS.keys()


def _keeps_thread(node: ast.ClassDef) -> bool:
    threads = {"Thread", "ThreadPoolExecutor"}
    calls = {_name(call.func) for call in ast.walk(node) if isinstance(call, ast.Call)}
    in_constructor = {_name(call.func) for call in _constructor_calls(node)}
    return bool(in_constructor & threads or (calls & threads and "__init__" in calls))


def test_no_constructor_calls_what_starts_a_thread() -> None:
    """But an actor's: Ray makes it in a process of its own, to work from then on."""
    found = [
        f"{path.name}: {node.name}: {_name(call.func)}"
        for path in LIVE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and not node.name.endswith("Actor")
        for call in _constructor_calls(node)
        if _name(call.func) in STARTERS
    ]
    assert found == []


def _constructor_calls(node: ast.ClassDef) -> Iterator[ast.Call]:
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            yield from (call for call in ast.walk(method) if isinstance(call, ast.Call))


def _name(function: ast.expr) -> str:
    match function:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""
