"""The container files fit the program: without an engine, so read as text."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from pipeline.config import load

ROOT = Path(__file__).parent.parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker/compose.yaml").read_text("utf-8"))
OURS = {
    name: service
    for name, service in COMPOSE["services"].items()
    if service["image"].startswith("undercam:")
}
TEXT = (ROOT / "docker/Dockerfile").read_text("utf-8").replace("\\\n", " ")
STEPS = [shlex.split(line, comments=True) for line in TEXT.splitlines() if line.strip(" \n")]
STEPS = [step for step in STEPS if step]


def stage(name: str) -> list[list[str]]:
    """The steps of one stage of the Dockerfile, after those of the stages it stands on."""
    stages = [i for i, step in enumerate(STEPS) if step[0] == "FROM"]
    start = next(i for i in stages if STEPS[i][-1] == name)
    end = next((i for i in stages if i > start), len(STEPS))
    below = STEPS[start][1]
    known = any(STEPS[i][-1] == below for i in stages)
    return (stage(below) if known else []) + STEPS[start:end]


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_the_image_runs_undercam_as_nobody_special(target: str) -> None:
    last = {step[0]: step[1:] for step in stage(target)}
    assert last["USER"] == ["undercam"]
    assert last["ENTRYPOINT"] == ["[undercam]"]
    assert "".join(step[0] for step in stage(target)).count("USER") == 1


def test_everything_copied_is_there_and_let_through() -> None:
    copied = {name for step in STEPS if step[0] == "COPY" for name in step[1:-1]}
    sources = {name for name in copied if not name.startswith(("--", "/"))}
    let = (ROOT / "docker/Dockerfile.dockerignore").read_text("utf-8").split()
    assert {f"!{name}" for name in sources} == {line for line in let if line.startswith("!")}
    assert all((ROOT / name).exists() for name in sources)


@pytest.mark.parametrize("name", OURS)
def test_a_service_is_shut_in(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "privileged" not in service
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert service["build"]["target"] in {"cpu", "gpu"}


@pytest.mark.parametrize("name", OURS)
def test_a_service_calls_a_command_with_settings_that_exist(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = OURS[name]
    for key, value in service["environment"].items():
        monkeypatch.setenv(key, value)
    settings = load()
    assert settings.store.url == "env:STORE_URL"
    assert (ROOT / f"pipeline/cli/{service['command'][0]}.py").is_file()


def test_no_password_is_written_down() -> None:
    text = (ROOT / "docker/compose.yaml").read_text("utf-8")
    assert "POSTGRES_PASSWORD:?" in text
    for value in re.findall(r"POSTGRES_PASSWORD: (.*)", text):
        assert value.startswith("${POSTGRES_PASSWORD:?")


def test_every_volume_is_declared() -> None:
    named = {
        volume.split(":")[0]
        for service in COMPOSE["services"].values()
        for volume in service.get("volumes", [])
        if not volume.startswith("./")
    }
    assert named == set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", ["run", "run-gpu"])
def test_cameras_are_discovered_in_compose(name: str) -> None:
    discovery = load(ROOT / "docker/cameras.toml").discovery
    hosts = {urlsplit(discovery.api_url).hostname, urlsplit(discovery.rtsp_url).hostname}
    assert hosts == {"mediamtx"} <= OURS[name]["depends_on"].keys()
    reader = COMPOSE["services"]["mediamtx"]["environment"]["MTX_AUTHINTERNALUSERS_1_PASS"]
    assert OURS[name]["environment"][discovery.password.removeprefix("env:")] == reader
    server = yaml.safe_load((ROOT / "docker/mediamtx/mediamtx.yml").read_text("utf-8"))
    assert server["authInternalUsers"][1]["user"] == discovery.user


def test_nobody_publishes_or_reads_without_a_password() -> None:
    """MediaMTX's own user `any`, without a password, is there until a list of users is given."""
    server = yaml.safe_load((ROOT / "docker/mediamtx/mediamtx.yml").read_text("utf-8"))
    assert server["authMethod"] == "internal"
    users = {
        user["user"]: {one["action"] for one in user["permissions"]}
        for user in server["authInternalUsers"]
    }
    assert users == {"publisher": {"publish"}, "undercam": {"read", "api", "metrics"}}
    given = COMPOSE["services"]["mediamtx"]["environment"]
    for number in range(len(users)):
        value = given[f"MTX_AUTHINTERNALUSERS_{number}_PASS"]
        assert re.fullmatch(r"\$\{[A-Z]+_PASSWORD:\?.*\}", value)
    assert server["paths"] == {"all_others": None}


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service_is_pinned_limited_and_keeps_short_logs(name: str) -> None:
    service = COMPOSE["services"][name]
    image, _, tag = service["image"].partition(":")
    assert image == "undercam" or re.fullmatch(r"v?\d+\.\d+(\.\d+)?(-\w+)?", tag)
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
    assert service["mem_limit"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    # Kafka and Grafana write into their containers; their images run them as users of their own.
    assert service.get("read_only") or name in ("kafka", "grafana")
    assert service["restart"] == ("no" if name == "demo" else "unless-stopped")
    # Nothing asks the other three, and the demo ends.
    assert "healthcheck" in service or name in ("mediamtx", "store", "demo")


def test_prometheus_scrapes_either_of_the_runs() -> None:
    scraped = yaml.safe_load((ROOT / "docker/prometheus/prometheus.yml").read_text("utf-8"))
    (target,) = scraped["scrape_configs"][0]["static_configs"][0]["targets"]
    host = target.partition(":")[0]
    assert host in OURS
    assert host in OURS["run-gpu"]["networks"]["default"]["aliases"]


def test_filled_in_copies_are_not_committed() -> None:
    ignored = (ROOT / ".gitignore").read_text("utf-8").split()
    assert {".env", "secret.yaml", "secrets.env"} <= set(ignored)


@pytest.mark.parametrize("path", ["cluster.yaml", "docker/cluster/aws-gpu.yaml"])
def test_filled_in_copies_are_not_sent_to_a_cluster(path: str) -> None:
    cluster = yaml.safe_load((ROOT / path).read_text("utf-8"))
    assert {".env", "secret.yaml", "secrets.env"} <= set(cluster["rsync_exclude"])


def test_the_image_has_what_kuberay_probes_with() -> None:
    installed = {word for step in STEPS if step[0] == "RUN" for word in step}
    assert "wget" in installed
    assert ".[dashboard,postgres,kafka,mqtt,cluster]" in installed
