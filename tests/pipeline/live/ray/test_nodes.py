"""Where actors are placed, and what is said of machines that come and go; no Ray is started."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.config import Settings
from pipeline.errors import ConfigError
from pipeline.live.engine import Job
from pipeline.live.ray import nodes, relays
from pipeline.live.ray.nodes import check_database, group_of, place_cameras, place_replica
from pipeline.live.ray.relays import RayRelays
from pipeline.live.relay_service import RelayReport
from pipeline.settings import CameraSettings

SHARED = {"url": "postgresql://a@b/c"}
LISTEN = CameraSettings(url="listen://0.0.0.0:8554/door")
PULLED = CameraSettings(url="rtsp://10.0.0.7/live")


def job(**sections: Any) -> Job:
    values = {"cluster": {"address": "auto"}, "store": SHARED, **sections}
    return Job(Settings.model_validate(values), home=Path("/"), node="here")


class Cluster:
    """Machines by name, each with its resources; its address is its name's first letter."""

    def __init__(self, **machines: dict[str, float]) -> None:
        self.machines = machines

    def alive(self) -> dict[str, dict[str, Any]]:
        return {
            name: {"NodeManagerAddress": name[0], "Resources": resources}
            for name, resources in self.machines.items()
        }

    def resources(self) -> dict[str, float]:
        return {name: 1.0 for resources in self.machines.values() for name in resources}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster(here={nodes.HEAD: 1.0, "CPU": 2.0}, other={"CPU": 8.0})
    monkeypatch.setattr(nodes, "alive_nodes", made.alive)
    monkeypatch.setattr(relays, "alive_nodes", made.alive)
    monkeypatch.setattr(nodes.ray, "cluster_resources", made.resources)
    # Ray's own takes its own names of machines only.
    monkeypatch.setattr(
        nodes,
        "NodeAffinitySchedulingStrategy",
        lambda node, soft: SimpleNamespace(node_id=node, soft=soft),
    )
    return made


def test_only_on_a_cluster_have_cameras_that_push_processes_of_their_own() -> None:
    assert group_of(LISTEN, job()) == "cameras-listen-"
    assert group_of(PULLED, job()) == "cameras-"
    assert group_of(CameraSettings(url="gopher://x/y"), job()) == "cameras-"
    assert group_of(LISTEN, job(cluster={"address": "local"})) == "cameras-"


def test_cameras_that_push_are_read_where_the_resource_is_and_others_where_cores_are(
    cluster: Cluster,
) -> None:
    placed = place_cameras("cameras-listen-0", job())
    assert placed == {"num_cpus": 0, "resources": {nodes.HEAD: nodes.A_LITTLE}}
    cluster.machines["other"]["ingest"] = 1.0
    assert place_cameras("cameras-listen-0", job())["resources"] == {"ingest": nodes.A_LITTLE}
    assert place_cameras("cameras-0", job()) == {"num_cpus": 0.5, "scheduling_strategy": "SPREAD"}


def test_with_a_sqlite_file_every_camera_is_read_where_the_command_is(cluster: Cluster) -> None:
    assert cluster.machines
    for name in ("cameras-0", "cameras-listen-0"):
        where = place_cameras(name, job(store={}))["scheduling_strategy"]
        assert (where.node_id, where.soft) == ("here", False)


def test_a_sqlite_file_is_for_one_machine(cluster: Cluster) -> None:
    check_database(job().settings)
    with pytest.raises(ConfigError, match="cannot be shared by the 2 machines"):
        check_database(job(store={}).settings)
    del cluster.machines["other"]
    check_database(job(store={}).settings)


def test_replicas_without_a_gpu_take_turns_on_machines_with_cores_the_head_first(
    cluster: Cluster,
) -> None:
    def placed() -> list[str]:
        return [place_replica(n, 0.0)["label_selector"]["ray.io/node-id"] for n in range(3)]

    assert placed() == ["here", "other", "here"]
    cluster.machines["here"]["CPU"] = 0.0
    cluster.machines["third"] = {"CPU": 16.0}
    assert placed() == ["third", "other", "third"]
    assert place_replica(0, 0.5) == {"num_cpus": 0, "num_gpus": 0.5}


class Relay:
    """A relay's handle that is its own answer."""

    def __init__(self) -> None:
        self.report = self

    def remote(self, *_: Any) -> Relay:
        return self


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, RelayReport]:
    """What relays answer, by name; those that are not in it do not."""
    found: dict[str, RelayReport] = {}
    monkeypatch.setattr(
        relays, "RelayOf", type("Of", (), {"options": staticmethod(lambda **_: Relay())})
    )
    monkeypatch.setattr(relays, "collect", lambda refs: {k: found[k] for k in refs if k in found})
    monkeypatch.setattr(relays, "_find_start_fault", lambda _: "")
    return found


def test_a_lost_machine_is_named_with_what_waits_there_until_it_is_back(
    cluster: Cluster, answers: dict[str, RelayReport]
) -> None:
    made = RayRelays(job())
    made.start_missing()
    assert made.reports()["relay-other"].fault == "the relay has not started"
    answers |= {"relay-here": RelayReport(sent=3), "relay-other": RelayReport(waiting=7, sent=5)}
    assert made.reports() == answers
    del cluster.machines["other"]
    made.start_missing()
    lost = made.reports()["relay-other"]
    assert (lost.sent, lost.waiting) == (5, 7)
    assert lost.fault.startswith("machine o is lost, 7 events may wait on its disk: bring it back")
    cluster.machines["other-again"] = {"CPU": 8.0}
    made.start_missing()
    assert made.reports()["relay-other"] == RelayReport(sent=5)


def test_a_machine_whose_relay_was_silent_may_have_taken_events_with_it(
    cluster: Cluster, answers: dict[str, RelayReport]
) -> None:
    made = RayRelays(job())
    made.start_missing()
    answers |= {"relay-other": RelayReport(), "relay-here": RelayReport()}
    made.reports()
    del answers["relay-other"]
    made.reports()
    del cluster.machines["other"]
    made.start_missing()
    assert "machine o is lost, events may wait on" in made.reports()["relay-other"].fault


def test_a_machine_that_leaves_with_nothing_is_no_fault(
    cluster: Cluster, answers: dict[str, RelayReport]
) -> None:
    made = RayRelays(job())
    made.start_missing()
    answers |= {"relay-other": RelayReport(sent=5), "relay-here": RelayReport()}
    made.reports()
    del cluster.machines["other"]
    made.start_missing()
    assert not any(report.fault for report in made.reports().values())


def test_a_relay_that_cannot_start_says_why_and_is_tried_again(
    cluster: Cluster, answers: dict[str, RelayReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cluster.machines
    answers |= {"relay-here": RelayReport()}
    made = RayRelays(job())
    made.start_missing()
    monkeypatch.setattr(relays, "_find_start_fault", lambda _: "a folder is missing: there: make")
    assert made.reports()["relay-other"].fault == "a folder is missing: there: make"
    made.start_missing()
    assert made.reports()["relay-other"].fault == "a folder is missing: there: make"
    answers |= {"relay-other": RelayReport(sent=1)}
    monkeypatch.setattr(relays.time, "monotonic", lambda: float("inf"))
    made.start_missing()
    assert made.reports() == answers


def test_with_a_sqlite_file_a_machine_that_joins_gets_no_relay_and_that_is_said(
    cluster: Cluster, answers: dict[str, RelayReport]
) -> None:
    answers |= {"relay-here": RelayReport(sent=1)}
    assert cluster.machines
    made = RayRelays(job(store={}))
    made.start_missing()
    said = made.reports()["relay-other"].fault
    assert said.startswith("machine o has joined and is not used: it cannot share a SQLite file")
    assert made.reports()["relay-here"] == RelayReport(sent=1)
