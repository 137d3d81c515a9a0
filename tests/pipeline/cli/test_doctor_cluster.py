"""`undercam doctor` on a machine of a cluster: what it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.checks import cluster
from pipeline.cli.checks.base import Finding, run_checks
from pipeline.cli.checks.cluster import checks_of_cluster
from pipeline.config import Settings

AUTO = {"address": "auto"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def find(part: str, **sections: Any) -> Finding:
    checks = checks_of_cluster(Settings.model_validate({"cluster": AUTO, **sections}))
    return run_checks({part: checks[f"cluster {part}"]})[part]


@pytest.mark.parametrize("alone", [{}, {"engine": "local", **AUTO}])
def test_a_command_with_a_ray_of_its_own_needs_none_of_it(alone: dict[str, str]) -> None:
    assert checks_of_cluster(Settings.model_validate({"cluster": alone})) == {}


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda module: None if module == "aiohttp" else 1)
    found = find("packages")
    assert (found.status, found.found) == ("warn", "not installed: ray[default]")
    assert "pip install 'undercam[cluster]'" in found.remedy
    monkeypatch.setattr(cluster, "find_spec", lambda module: 1)
    assert find("packages").status == "ok"


def test_a_token_that_is_missing_empty_or_open(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = find("token")
    assert (missing.status, missing.exit_code) == ("fail", 4)
    assert "RAY_AUTH_TOKEN_PATH to a file of mode 0600" in missing.remedy
    path = home / "token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    path.write_text("")
    assert find("token").status == "fail"
    path.write_text("a" * 64)
    path.chmod(0o644)
    assert find("token").remedy == f"chmod 600 {path}"
    path.chmod(0o600)
    assert find("token").found == str(path)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    assert find("token").found == "RAY_AUTH_TOKEN is set"


def test_relative_paths_name_the_folder_that_every_machine_needs(home: Path) -> None:
    store = {"url": "postgresql://a@b/c"}
    assert find("folder", store=store).found == (
        f"every machine needs {home}: relative to it: outbox.folder"
    )
    absolute = {"outbox": {"folder": "/srv/outbox"}, "store": store}
    assert find("folder", **absolute).found == "all paths are absolute"


def test_a_sqlite_file_is_for_one_machine() -> None:
    assert find("database").status == "warn"
    assert "PostgreSQL" in find("database").remedy
    assert find("database", store={"url": "postgresql://a@b/c"}).status == "ok"
