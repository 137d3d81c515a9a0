"""Compose, Kubernetes, Prometheus, Grafana and systemd files: each by the validator made for it."""

from __future__ import annotations

import ast
import configparser
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from pipeline.config import load
from pipeline.metrics import describe_metrics

ROOT = Path(__file__).parent.parent.parent
DOCKER = ROOT / "docker"
KUBERNETES = DOCKER / "kubernetes"
CLUSTER: dict[str, Any] = yaml.safe_load((KUBERNETES / "base/raycluster.yaml").read_text("utf-8"))
PROMTOOL, KUBECTL = shutil.which("promtool"), shutil.which("kubectl")


def run(*command: str | Path) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def wait_for(is_so: Callable[[], bool], most_s: float = 15) -> None:
    until_s = time.monotonic() + most_s
    while not is_so():
        assert time.monotonic() < until_s
        time.sleep(0.1)


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


def references(made: Any) -> Iterator[tuple[str, str, str]]:
    """Kind, name and key ("" for all) of each config map and secret that an object refers to."""
    fields = {"configMap": "ConfigMap", "secretRef": "Secret", "secretKeyRef": "Secret"}
    if isinstance(made, dict):
        for field, value in made.items():
            if kind := fields.get(field):
                yield kind, value["name"], value.get("key", "")
            yield from references(value)
    elif isinstance(made, list):
        for value in made:
            yield from references(value)


@pytest.mark.skipif(KUBECTL is None, reason="needs kubectl: it includes kustomize")
@pytest.mark.parametrize("folder", ["base", "overlays/gpu"])
def test_what_kustomize_makes_refers_to_what_exists(folder: str) -> None:
    command = ["kubectl", "kustomize", str(KUBERNETES / folder)]
    made = list(yaml.safe_load_all(subprocess.check_output(command, text=True)))
    secret = yaml.safe_load((KUBERNETES / "secret.example.yaml").read_text("utf-8"))
    known = {(one["kind"], one["metadata"]["name"], "") for one in [*made, secret]}
    known |= {("Secret", secret["metadata"]["name"], key) for key in secret["stringData"]}
    assert set(references(made)) - known == set()
    assert {one["metadata"].get("namespace", "undercam") for one in made} == {"undercam"}


def test_the_token_is_where_kuberay_reads_it() -> None:
    """KubeRay reads the key `auth_token` of the secret that is named like the cluster."""
    secret = yaml.safe_load((KUBERNETES / "secret.example.yaml").read_text("utf-8"))
    assert secret["metadata"]["name"] == CLUSTER["metadata"]["name"]
    assert "auth_token" in secret["stringData"]
    run = next(yaml.safe_load_all((KUBERNETES / "base/run.yaml").read_text("utf-8")))
    environment = run["spec"]["template"]["spec"]["containers"][0]["env"]
    (token,) = (one["valueFrom"] for one in environment if one["name"] == "RAY_AUTH_TOKEN")
    assert token["secretKeyRef"] == {"name": secret["metadata"]["name"], "key": "auth_token"}


def test_a_broker_with_a_login_is_set_in_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lines are comments in the example, and settings once they are none."""
    text = (KUBERNETES / "secret.example.yaml").read_text("utf-8")
    values = dict(re.findall(r"^  # ([A-Z_]+): (\S+)$", text, re.M))
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    bus = load(KUBERNETES / "base/undercam.toml").bus
    assert (bus.security, bus.sasl_mechanism, bus.user) == ("SASL_SSL", "SCRAM-SHA-256", "undercam")
    assert bus.password.removeprefix("env:") in values
    assert (
        urlsplit(values["BUS_URL"]).port
        != urlsplit(yaml.safe_load(text)["stringData"]["BUS_URL"]).port
    )


def test_the_namespace_allows_the_volumes_of_its_pods() -> None:
    namespace = yaml.safe_load((KUBERNETES / "base/namespace.yaml").read_text("utf-8"))
    level = namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    volumes = [v for _, group in groups() for v in group["template"]["spec"].get("volumes", [])]
    assert any("hostPath" in volume for volume in volumes)
    assert level == "privileged"  # the only level with hostPath


@pytest.mark.parametrize("folder", ["base", "overlays/gpu"])
def test_cameras_are_discovered_in_kubernetes(folder: str) -> None:
    discovery = load(KUBERNETES / folder / "undercam.toml").discovery
    services = {
        one["metadata"]["name"]: [port["port"] for port in one["spec"]["ports"]]
        for one in yaml.safe_load_all((KUBERNETES / "base/mediamtx.yaml").read_text("utf-8"))
        if one["kind"] == "Service"
    }
    for url in (discovery.api_url, discovery.rtsp_url):
        address = urlsplit(url)
        assert address.port in services[str(address.hostname)]
    secret = yaml.safe_load((KUBERNETES / "secret.example.yaml").read_text("utf-8"))
    assert discovery.password.removeprefix("env:") in secret["stringData"]
    server = yaml.safe_load((KUBERNETES / "base/mediamtx.yml").read_text("utf-8"))
    (user,) = (u for u in server["authInternalUsers"] if u["user"] == discovery.user)
    assert {one["action"] for one in user["permissions"]} >= {"read", "api"}


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


def test_a_ray_that_ended_is_not_begun_again_while_ray_down_is_at_work(tmp_path: Path) -> None:
    """`ray down` ends Ray first: one that supervisord began at once would outlive it."""
    ray = tmp_path / "ray"
    ray.write_text(f"#!/bin/sh\necho begun >> {tmp_path}/calls\n", "utf-8")
    ray.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)}
    environment["CLUSTER_HOME"] = str(tmp_path)
    command = [str(DOCKER / "cluster/head-ray")]
    subprocess.run(command, env=environment, check=True, timeout=10)
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(command, env=environment, timeout=1)
    assert (tmp_path / "calls").read_text("utf-8").split() == ["begun"]


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


class Head:
    """`docker/cluster/start head` with a supervisord that writes down what it was started with."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.settings = folder / "docker/cluster/undercam.toml"
        shutil.copytree(DOCKER / "cluster", folder / "docker/cluster")
        self.home.mkdir()
        self._write("supervisord", 'echo "$CLUSTER_STORE" > "$CLUSTER_HOME/store"')
        self.answers(True)

    def _write(self, name: str, body: str) -> None:
        script = self.folder / ".venv/bin" / name
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(f"#!/bin/sh\n{body}\n", "utf-8")
        script.chmod(0o755)

    def answers(self, does: bool) -> None:
        """Whether the dashboard answers."""
        health = f'case "$*" in *_stcore/health*) exit {0 if does else 1};; esac'
        self._write("python", f'{health}\nPYTHONPATH={ROOT} exec {sys.executable} "$@"')

    def start(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.folder / "docker/cluster/start", "head"],
            env={"PATH": "/usr/bin:/bin", "CLUSTER_HOME": str(self.home), **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.mark.parametrize(("bus", "store"), [("", "false"), ("kafka://HOST:9092", "true")])
def test_a_head_runs_the_store_only_where_a_bus_is_set(
    tmp_path: Path, bus: str, store: str
) -> None:
    head = Head(tmp_path)
    head.settings.write_text(f'[bus]\nurl = "{bus}"\n', "utf-8")
    done = head.start()
    assert (done.returncode, done.stderr) == (0, "")
    assert "rtsp://" in done.stdout
    assert (head.home / "store").read_text("utf-8").strip() == store


READ_CONF = """
import sys
from supervisor.options import ServerOptions
options = ServerOptions()
options.realize(["-c", sys.argv[1]])
print([p.name for group in options.process_group_configs for p in group.process_configs
       if p.autostart])
"""


@pytest.mark.parametrize("store", [False, True])
def test_supervisord_starts_the_store_where_it_is_to(tmp_path: Path, store: bool) -> None:
    home = str(tmp_path)
    environment = {"HOME": home, "CLUSTER_HOME": home, "CLUSTER_CHECKOUT": str(ROOT)}
    (tmp_path / "log").mkdir()
    environment["CLUSTER_STORE"] = str(store).lower()
    command = [sys.executable, "-W", "ignore", "-c", READ_CONF, DOCKER / "cluster/head.conf"]
    started = ast.literal_eval(subprocess.check_output(command, env=environment, text=True))
    assert sorted(started) == sorted(["ray", "run", "dashboard", *(["store"] if store else [])])


def test_a_head_refuses_settings_that_are_none(tmp_path: Path) -> None:
    head = Head(tmp_path)
    head.settings.write_text("[bus]\nurll = 1\n", "utf-8")
    done = head.start()
    assert done.returncode == 1
    assert done.stderr.startswith("undercam: ")
    assert not (head.home / "store").exists()


def test_a_head_whose_dashboard_does_not_answer_fails(tmp_path: Path) -> None:
    head = Head(tmp_path)
    head.answers(False)
    done = head.start(CLUSTER_START_S="1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("undercam: the dashboard does not answer: ")


@pytest.mark.parametrize(("identifier", "ends"), [("undercam-monitor.py", True), ("else", False)])
def test_a_start_ends_the_last_supervisord_and_no_stranger(
    tmp_path: Path, identifier: str, ends: bool
) -> None:
    head = Head(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()", identifier], stdin=-1) as process:
        (head.home / "supervisord.pid").write_text(f"{process.pid}\n", "utf-8")
        threading.Thread(target=process.wait, daemon=True).start()  # as its parent would
        assert head.start().returncode == 0
        time.sleep(0.2)
        assert (process.poll() is not None) is ends
        process.kill()


def argument(process: Path) -> str:
    """The command line of a process, "" where it has ended."""
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


@pytest.mark.parametrize("role", ["head", "worker"])
def test_programs_end_when_their_supervisord_is_killed(tmp_path: Path, role: str) -> None:
    """`ray stop` kills it where closing the cameras takes more than five seconds."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (tmp_path / "log").mkdir()
    for name in ("ray", "undercam"):
        (folder / name).write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n", "utf-8")
        (folder / name).chmod(0o755)
    home = str(tmp_path)
    environment = {"HOME": home, "CLUSTER_HOME": home, "CLUSTER_CHECKOUT": str(ROOT)}
    environment |= {"CLUSTER_STORE": "true", "CLUSTER_HEAD": "127.0.0.1"}
    environment["PATH"] = f"{folder}:/usr/bin:/bin"
    module = "from supervisor.supervisord import main; main()"
    command = [sys.executable, "-W", "ignore", "-c", module, "-n", "-c"]

    def programs() -> list[str]:
        found = [argument(process) for process in Path("/proc").glob("[0-9]*")]
        return [text for text in found if f"{folder}/" in text]

    expected = 4 if role == "head" else 1
    with subprocess.Popen(
        [*command, str(DOCKER / f"cluster/{role}.conf")],
        env=environment,
        stdout=subprocess.DEVNULL,
    ) as supervisord:
        try:
            wait_for(lambda: len(programs()) == expected)
        finally:
            supervisord.kill()
    wait_for(lambda: programs() == [])
