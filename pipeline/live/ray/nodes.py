"""The machines of a cluster, and on which of them an actor is placed."""

from __future__ import annotations

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.camera_url import kind_of
from pipeline.config import Settings, resolve
from pipeline.errors import ConfigError, InputError
from pipeline.live.engine import Job
from pipeline.live.leases import CAMERAS
from pipeline.live.ray.environment import LOCAL
from pipeline.local_paths import is_sqlite
from pipeline.settings import CameraSettings

LISTEN = f"{CAMERAS}listen-"
"""How the names of processes begin that read cameras which push to us."""
INGEST, HEAD = "ingest", "node:__internal_head__"
"""The resource of the machine that cameras push to, where one has it, and that of Ray's head."""
A_LITTLE = 0.001
"""Of a resource that says where an actor may run, and is never used up."""
SHARED_REMEDY = "give store.url a PostgreSQL address"


def alive_nodes() -> dict[str, dict[str, Any]]:
    """The machines that are there, by what Ray calls them; waits for ever without the head."""
    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}


def is_alone(settings: Settings) -> bool:
    """Whether all of a cluster's part in this must run where the command does: a SQLite file cannot
    be shared. Raises ConfigError for a reference that leads nowhere."""
    return settings.cluster.address != LOCAL and is_sqlite(resolve(settings.store.url))


def check_database(settings: Settings) -> None:
    """Raise ConfigError for a SQLite file on a cluster of several machines."""
    machines = len(alive_nodes())
    if is_alone(settings) and machines > 1:
        what = f"a SQLite file cannot be shared by the {machines} machines of this cluster"
        raise ConfigError(what, "store.url", SHARED_REMEDY)


def place_cameras(name: str, job: Job) -> dict[str, Any]:
    """Options for a camera process: where the cores are, or where cameras push to."""
    cpus = job.settings.workers.cpus
    if is_alone(job.settings):
        return {"num_cpus": cpus, **only_on(job.node)}
    if name.startswith(LISTEN):
        where = INGEST if INGEST in ray.cluster_resources() else HEAD
        # No cores: there is no other machine to choose where this one's are taken.
        return {"num_cpus": 0, "resources": {where: A_LITTLE}}
    return {"num_cpus": cpus, "scheduling_strategy": "SPREAD"}


def group_of(camera: CameraSettings, job: Job) -> str:
    """How the names of the processes begin that may read a camera."""
    try:
        pushes = kind_of(camera.url) == "listen"
    except InputError:  # an unknown scheme: refused when it is opened
        pushes = False
    return LISTEN if pushes and job.settings.cluster.address != LOCAL else CAMERAS


def place_replica(number: int, gpus: float) -> dict[str, Any]:
    """Options for a replica of a pool: where its GPU is, or in turn on the machines with cores, the
    one that cameras push to first. It starts elsewhere when that machine is lost."""
    options: dict[str, Any] = {"num_cpus": 0, "num_gpus": gpus}
    if gpus:
        return options
    nodes = sorted(alive_nodes().items(), key=lambda item: _rank(item[1]["Resources"]))
    with_cores = [key for key, node in nodes if node["Resources"].get("CPU")]
    if with_cores:
        node = with_cores[number % len(with_cores)]
        options |= first_on(node)
    return options


def only_on(node: str) -> dict[str, Any]:
    """Options for an actor that runs on this machine or not at all."""
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


def first_on(node: str) -> dict[str, Any]:
    """Options for an actor that runs on this machine, and elsewhere only when that is lost."""
    # Not a soft NodeAffinitySchedulingStrategy: an actor that takes no cores is placed on any
    # machine by it, also while this one lives.
    return {
        "label_selector": {"ray.io/node-id": node},
        "fallback_strategy": [{"label_selector": {}}],
    }


def _rank(resources: dict[str, float]) -> tuple[bool, bool, float]:
    return INGEST not in resources, HEAD not in resources, -resources.get("CPU", 0.0)
