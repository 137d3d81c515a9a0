"""`undercam run` as a job of a Ray cluster: `ray job submit -- undercam run ...`."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.pipeline.live.ray.conftest import python_path
from tests.pipeline.live.ray.machines import free_port
from tests.pipeline.live.ray.test_run import check_rows, config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.needs("ray-default")]
PORT = free_port()
PATIENCE_S = 120.0


@pytest.fixture
def head() -> dict[str, Any]:
    """With the dashboard, which takes jobs."""
    return {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": PORT}


def submit(*command: str) -> subprocess.CompletedProcess[str]:
    submit = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit"]
    return subprocess.run(
        [*submit, "--address", f"http://127.0.0.1:{PORT}", "--", *command],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": python_path()},
        timeout=400,
    )


def rows(database: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def test_a_job_reads_cameras_and_ends_with_what_it_printed(
    address: str, clip: Path, tmp_path: Path
) -> None:
    assert address
    # A job is started in a folder of Ray's: its paths are absolute.
    database = tmp_path / "state/undercam.db"
    places = f'[outbox]\nfolder = "{tmp_path}/outbox"\n[store]\nurl = "sqlite:///{database}"\n'
    file = tmp_path / "undercam.toml"
    file.write_text(config(clip, "door") + f'{places}[cluster]\naddress = "auto"\n')
    run = (sys.executable, "-P", "-m", "pipeline", "run", "-c", str(file))
    until_s = time.monotonic() + PATIENCE_S
    while (ended := submit(*run, "--until-ended", "--json")).returncode != 0:
        # The dashboard starts after the cluster does.
        assert "Failed to connect" in ended.stderr, ended.stdout[-3000:] + ended.stderr[-3000:]
        assert time.monotonic() < until_s, ended.stderr[-3000:]
        time.sleep(1)
    assert "succeeded" in ended.stdout
    (line,) = re.findall(r'^\{"cameras".*\}$', ended.stdout, re.MULTILINE)
    result = json.loads(line)
    assert result["ok"], ended.stdout[-3000:]
    assert result["events"]["sent"] > 0
    assert result["events"]["waiting"] == result["events"]["lost"] == 0
    stored = SimpleNamespace(folder=tmp_path, rows=lambda query: rows(database, query))
    check_rows(stored, clip, "door")
