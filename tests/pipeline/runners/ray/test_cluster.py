"""A Ray cluster that was there before."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.runners.ray.test_run import check_rows, config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def address(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Of a cluster whose processes live in a folder of their own."""
    # Whoever joins would look for it at this machine's other address.
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    with subprocess.Popen(
        [sys.executable, "-m", "tests.pipeline.runners.ray.two_nodes"],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[4])},
    ) as nodes:
        assert nodes.stdout
        yield nodes.stdout.readline().strip()


def test_a_cluster_serves_one_command_at_a_time(start: Any, clip: Path, address: str) -> None:
    live = start(config(clip, "door", play="loop", fps=2.0), "--address", address)
    live.until(lambda: "door: online" in live.said)
    refused = start(config(clip, "hall"), "--address", address, inside="other")
    refused.process.communicate(timeout=90)
    assert refused.process.returncode == 4
    assert refused.said.splitlines()[-1].startswith(
        "undercam: another `undercam run` is at work there"
    )
    live.process.kill()  # and nobody ends what it began
    live.process.communicate()
    taken = start(config(clip, "hall"), "--address", address, "--until-ended", inside="other")
    result = taken.end()
    assert result["cameras"].keys() == {"hall"}
    assert result["events"]["waiting"] == 0
    check_rows(taken, clip, "hall")  # beside its settings, where it was started
    ended = live.rows("SELECT phase, count(*) FROM tracks GROUP BY phase")
    assert {phase for phase, _ in ended} == {"end"}  # the first was told to stop, not cut off
