"""Compose, Kubernetes, Prometheus, Grafana and systemd files: each by the validator made for it."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config import load
from pipeline.metrics import describe_metrics

ROOT = Path(__file__).parent.parent.parent
DOCKER = ROOT / "docker"
KUBERNETES = DOCKER / "kubernetes"
MANIFESTS = [
    path
    for path in sorted(KUBERNETES.rglob("*.yaml"))
    if path.name not in {"kustomization.yaml", "raycluster.yaml", "gpu-workers.yaml"}
]
CLUSTER: dict[str, Any] = yaml.safe_load((KUBERNETES / "base/raycluster.yaml").read_text("utf-8"))
PROMTOOL = shutil.which("promtool")


def run(*command: str | Path) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_compose_file_follows_its_published_schema() -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    run(sys.executable, "-m", "check_jsonschema", *schema, DOCKER / "compose.yaml")


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_follows_kubernetes_schemas(path: Path) -> None:
    run(sys.executable, "-m", "kubernetes_validate", "--strict", path)


def groups() -> list[tuple[str, dict[str, Any]]]:
    spec = CLUSTER["spec"]
    patch = yaml.safe_load((KUBERNETES / "overlays/gpu/gpu-workers.yaml").read_text("utf-8"))
    workers = [*spec["workerGroupSpecs"], *(step["value"] for step in patch)]
    return [("head", spec["headGroupSpec"]), *((group["groupName"], group) for group in workers)]


@pytest.mark.parametrize(("name", "group"), groups(), ids=[name for name, _ in groups()])
def test_a_group_of_the_ray_cluster_makes_valid_pods(
    tmp_path: Path, name: str, group: dict[str, Any]
) -> None:
    """KubeRay's own schema cannot be had without a cluster; that of its pods can."""
    assert (CLUSTER["apiVersion"], CLUSTER["kind"]) == ("ray.io/v1", "RayCluster")
    assert CLUSTER["spec"]["authOptions"] == {"mode": "token"}
    pod = tmp_path / "pod.json"
    spec = group["template"]["spec"]
    pod.write_text(
        json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    )
    run(sys.executable, "-m", "kubernetes_validate", "--strict", pod)
    assert spec["securityContext"]["runAsNonRoot"]
    assert all(value == str(value) for value in group["rayStartParams"].values())


def test_kustomize_finds_what_it_names() -> None:
    for path in KUBERNETES.rglob("kustomization.yaml"):
        made = yaml.safe_load(path.read_text("utf-8"))
        named = [*made["resources"], *(patch["path"] for patch in made.get("patches", []))]
        named += [f for one in made.get("configMapGenerator", []) for f in one["files"]]
        assert [name for name in named if not (path.parent / name).exists()] == []
    base, docker = KUBERNETES / "base/mediamtx.yml", DOCKER / "mediamtx/mediamtx.yml"
    assert base.read_text("utf-8") == docker.read_text("utf-8")


@pytest.mark.parametrize(
    "path",
    [
        DOCKER / "cameras.toml",
        DOCKER / "cluster/undercam.toml",
        KUBERNETES / "base/undercam.toml",
        KUBERNETES / "overlays/gpu/undercam.toml",
    ],
    ids=lambda path: f"{path.parent.name}-{path.name}",
)
def test_settings_that_are_deployed_are_settings(path: Path) -> None:
    assert load(path).source.analyse_fps == 5


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool: install prometheus")
def test_alerts_fire_when_they_should() -> None:
    run("promtool", "check", "config", DOCKER / "prometheus/prometheus.yml")
    run("promtool", "test", "rules", DOCKER / "prometheus/alerts_test.yml")


def test_boards_and_alerts_ask_for_metrics_that_exist() -> None:
    texts = [
        (DOCKER / "grafana/boards/undercam.json").read_text("utf-8"),
        (DOCKER / "prometheus/alerts.yml").read_text("utf-8"),
    ]
    asked = {name for text in texts for name in re.findall(r"\bundercam_\w+", text)}
    known = {metric.name for metric in describe_metrics()}
    known |= {f"{name}_bucket" for name in known}
    assert asked - known == set()
    assert asked


def test_every_panel_of_the_board_shows_something() -> None:
    board = json.loads((DOCKER / "grafana/boards/undercam.json").read_text("utf-8"))
    assert all(panel["title"] and panel["targets"][0]["expr"] for panel in board["panels"])
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


@pytest.mark.parametrize(
    "path", sorted((DOCKER / "systemd").glob("*.service")), ids=lambda p: p.stem
)
def test_a_unit_runs_a_command_as_its_own_user(path: Path) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(path.read_text("utf-8"))
    service = unit["Service"]
    command = service["ExecStart"].split()
    assert (ROOT / f"pipeline/cli/{command[1]}.py").is_file()
    assert service["User"] == "undercam"
    assert command[1] != "run" or service["KillMode"] == "mixed"


@pytest.mark.slow
def test_a_machine_that_finds_no_head_ends_its_part(tmp_path: Path) -> None:
    ray = tmp_path / "ray"
    ray.write_text(f"#!/bin/sh\necho asked >> {tmp_path}/calls\nexit 1\n", "utf-8")
    ray.chmod(0o755)
    supervisor = f'trap "exit 7" TERM; {DOCKER}/cluster/join & wait'
    path = f"{tmp_path}:/usr/bin:/bin"
    environment = {"PATH": path, "CLUSTER_HEAD": "127.0.0.1", "CLUSTER_PATIENCE_S": "8"}
    done = subprocess.run(["bash", "-c", supervisor], env=environment, timeout=60)
    assert done.returncode == 7
    assert (tmp_path / "calls").read_text("utf-8").split() == ["asked", "asked"]
