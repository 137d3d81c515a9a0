"""Every YAML file of the repository is checked: by the published schema of its kind, by the program
that reads it, or, where neither can be had, against what it must fit."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.docker.test_deployment_files import DOCKER, KUBECTL, KUBERNETES, PROMTOOL, ROOT, run
from tests.docker.test_docker import COMPOSE, STEPS

FOLDERS = (".github", "docker", "docs", "tests", "benchmarks", "pipeline", "dashboard", "models")
FILES = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.yaml", "*.yml")
    for path in [*ROOT.glob(pattern), *(p for f in FOLDERS for p in (ROOT / f).rglob(pattern))]
)
BOARD = json.loads((DOCKER / "grafana/boards/undercam.json").read_text("utf-8"))


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return found


def check_schema(kind: str) -> Callable[[Path], None]:
    """By a schema that check-jsonschema brings along."""
    schema = ("--builtin-schema", f"vendor.{kind}")
    return lambda path: run(sys.executable, "-m", "check_jsonschema", *schema, path)


def check_hooks(path: Path) -> None:
    run(sys.executable, "-m", "pre_commit", "validate-config", path)


def check_cluster(path: Path) -> None:
    """By Ray's own schema; and what it copies to the machines is there, and is all."""
    ray = find_spec("ray")
    assert ray
    assert ray.origin
    schema = Path(ray.origin).parent / "autoscaler/ray-schema.json"
    run(sys.executable, "-m", "check_jsonschema", "--schemafile", schema, path)
    cluster = read(path)
    copied = {target: (ROOT / source) for target, source in cluster["file_mounts"].items()}
    assert [str(source) for source in copied.values() if not source.exists()] == []
    assert all(target == f"~/undercam/{source.name}" for target, source in copied.items())
    # As the image has it; more than that only to install it and to start it.
    image = {name for step in STEPS if step[0] == "COPY" for name in step[1:-1]}
    needed = {name for name in image if not name.startswith(("--", "/"))}
    assert {source.name for source in copied.values()} == needed | {"Makefile", "docker"}
    lines = " ".join(line for key in cluster if key.endswith("_commands") for line in cluster[key])
    scripts = re.findall(r"~/undercam/(docker/\S+)", lines)
    assert scripts
    assert all((ROOT / script).stat().st_mode & 0o111 for script in scripts)


def check_manifest(path: Path) -> None:
    run(sys.executable, "-m", "kubernetes_validate", "--strict", path)


def check_kustomization(path: Path) -> None:
    if KUBECTL is None:
        pytest.skip("needs kubectl: it includes kustomize")
    run("kubectl", "kustomize", path.parent)


def check_prometheus(path: Path) -> None:
    if PROMTOOL is None:
        pytest.skip("needs promtool: install prometheus")
    kind = "config" if path.name == "prometheus.yml" else "rules"
    run("promtool", "check", kind, path)


def check_alert_tests(path: Path) -> None:
    """They pass, and there is one that fires for each alert."""
    fired = {
        one["alertname"]
        for test in read(path)["tests"]
        for one in test["alert_rule_test"]
        if one["exp_alerts"]
    }
    (group,) = read(path.with_name("alerts.yml"))["groups"]
    assert fired == {rule["alert"] for rule in group["rules"]}
    if PROMTOOL is None:
        pytest.skip("needs promtool: install prometheus")
    run("promtool", "test", "rules", path)


GLOBAL = {
    *("logLevel", "logDestinations", "api", "apiAddress", "metrics", "metricsAddress", "rtsp"),
    *("rtspTransports", "rtspAddress", "rtmp", "hls", "webrtc", "srt", "authMethod"),
    *("authInternalUsers", "pathDefaults", "paths"),
}
"""What its sample file calls the settings that we use; it refuses to start with an unknown one."""


def check_mediamtx(path: Path) -> None:
    server = read(path)
    assert server.keys() == GLOBAL
    assert {name for user in server["authInternalUsers"] for name in user} == {
        *("user", "pass", "permissions")
    }
    assert server["pathDefaults"] == {"useAbsoluteTimestamp": True}
    assert server["rtspTransports"] == ["tcp"]  # the only port that is open
    rtsp, api = (server[name].removeprefix(":") for name in ("rtspAddress", "apiAddress"))
    assert COMPOSE["services"]["mediamtx"]["ports"] == [f"{rtsp}:{rtsp}"]
    discovery = (DOCKER / "cameras.toml").read_text("utf-8")
    assert f'"http://mediamtx:{api}"' in discovery
    assert f'"rtsp://mediamtx:{rtsp}"' in discovery


def check_boards(path: Path) -> None:
    """Grafana reads boards where Compose mounts ours."""
    (provider,) = read(path)["providers"]
    assert (provider["type"], read(path)["apiVersion"]) == ("file", 1)
    volumes = [volume.split(":") for volume in COMPOSE["services"]["grafana"]["volumes"]]
    places = {source: target for source, target, *_ in volumes}
    assert provider["options"]["path"] == places["./grafana/boards"]
    assert places["./grafana/provisioning"] == "/etc/grafana/provisioning"


def check_data_sources(path: Path) -> None:
    """The board's panels ask the Prometheus that Compose starts."""
    (source,) = read(path)["datasources"]
    asked = {
        target["datasource"]["uid"] for panel in BOARD["panels"] for target in panel["targets"]
    }
    assert {panel["datasource"]["uid"] for panel in BOARD["panels"]} == asked == {source["uid"]}
    where = urlsplit(source["url"])
    assert COMPOSE["services"][where.hostname]["image"].startswith("prom/prometheus:")
    assert (source["type"], where.port) == ("prometheus", 9090)


RAY_CLUSTER = {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"}
HEAD = {"rayStartParams", "template"}
WORKERS = {*HEAD, "groupName", "replicas", "minReplicas", "maxReplicas"}
"""Fields that KubeRay's reference knows, as far as we use them; it has more."""


def check_ray_cluster(path: Path) -> None:
    """KubeRay's schema cannot be had; test_deployment_files.py has the pods of each group."""
    cluster = read(path)
    assert cluster.keys() == {"apiVersion", "kind", "metadata", "spec"}
    spec = cluster["spec"]
    assert (spec.keys(), spec["headGroupSpec"].keys()) == (RAY_CLUSTER, HEAD)
    assert all(group.keys() == WORKERS for group in spec["workerGroupSpecs"])


def check_ray_workers(path: Path) -> None:
    """A JSON patch that adds a group."""
    (patch,) = yaml.safe_load(path.read_text("utf-8"))
    assert (patch["op"], patch["path"]) == ("add", "/spec/workerGroupSpecs/-")
    assert patch["value"].keys() == WORKERS


CHECKS: dict[str, Callable[[Path], None]] = {
    ".github/workflows/*.yml": check_schema("github-workflows"),
    ".pre-commit-config.yaml": check_hooks,
    "cluster.yaml": check_cluster,
    "docker/cluster/*.yaml": check_cluster,
    "docker/compose.yaml": check_schema("compose-spec"),
    "docker/grafana/provisioning/dashboards/*.yml": check_boards,
    "docker/grafana/provisioning/datasources/*.yml": check_data_sources,
    "docker/kubernetes/*/kustomization.yaml": check_kustomization,
    "docker/kubernetes/base/mediamtx.yml": check_mediamtx,
    "docker/kubernetes/base/raycluster.yaml": check_ray_cluster,
    "docker/kubernetes/overlays/gpu/gpu-workers.yaml": check_ray_workers,
    "docker/kubernetes/*.yaml": check_manifest,
    "docker/mediamtx/mediamtx.yml": check_mediamtx,
    "docker/prometheus/alerts_test.yml": check_alert_tests,
    "docker/prometheus/*.yml": check_prometheus,
}
"""By the pattern of a file's path: the first that fits counts."""


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_passes_the_check_of_its_kind(path: Path) -> None:
    check = next((check for pattern, check in CHECKS.items() if fnmatch(str(path), pattern)), None)
    assert check, "no check is known for it: write one"
    check(ROOT / path)


def test_no_check_is_left_over() -> None:
    assert [p for p in CHECKS if not any(fnmatch(str(path), p) for path in FILES)] == []
    assert KUBERNETES.relative_to(ROOT) / "base/run.yaml" in FILES


def test_a_wrong_file_is_found(tmp_path: Path) -> None:
    """Each check refuses a file of its kind with a word that is none."""
    for path, wrong in (
        ("cluster.yaml", ("provider:", "providers:")),
        (".github/workflows/ci.yml", ("runs-on:", "runs-at:")),
    ):
        text = (ROOT / path).read_text("utf-8")
        assert wrong[0] in text
        (tmp_path / "wrong.yaml").write_text(text.replace(*wrong), "utf-8")
        check = next(check for pattern, check in CHECKS.items() if fnmatch(path, pattern))
        with pytest.raises(AssertionError):
            check(tmp_path / "wrong.yaml")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_reads_its_units(tmp_path: Path) -> None:
    """It warns of words that it does not know, and of programs that are not there."""
    for unit in (DOCKER / "systemd").glob("*.service"):
        text = unit.read_text("utf-8").replace("/usr/local/bin/undercam", "/bin/true")
        (tmp_path / unit.name).write_text(text, "utf-8")
    units = [str(path) for path in sorted(tmp_path.glob("*.service"))]
    assert len(units) == 3
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True
    )
    said = [line for line in done.stderr.splitlines() if "undercam" in line]
    assert (done.returncode, said) == (0, [])


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool: install prometheus")
def test_prometheus_reads_the_queries_of_the_board(tmp_path: Path) -> None:
    queries = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
    rules = [{"record": f"board:{n}", "expr": query} for n, query in enumerate(queries)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}), "utf-8")
    run("promtool", "check", "rules", file)
