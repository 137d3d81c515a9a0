"""A Ray cluster that was there before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.live.ray.host_thread import TOKEN
from tests.pipeline.live.ray.test_run import check_rows, config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


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


def refused(start: Any, clip: Path, address: str, inside: str = "") -> str:
    """The one line that a command ends with."""
    live = start(config(clip, "door"), "--address", address, inside=inside)
    live.process.communicate(timeout=60)
    assert live.process.returncode == 4
    (line,) = live.said.splitlines()
    return str(line)


def test_a_token_that_is_wrong_or_missing_is_one_clear_line(
    start: Any, clip: Path, address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    remedy = "set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file of mode 0600"
    monkeypatch.setenv(TOKEN, "b" * 64)
    line = refused(start, clip, address)
    assert line.startswith(f"undercam: the Ray cluster refuses our token: {address}: {remedy}")
    monkeypatch.delenv(TOKEN)
    monkeypatch.setenv("HOME", str(tmp_path))
    line = refused(start, clip, address, "again")
    assert line.startswith(f"undercam: the Ray cluster needs a token: {address}: {remedy}")
    assert not (tmp_path / ".ray").exists()


@pytest.mark.parametrize("mode", ["disabled"])
def test_a_cluster_that_lets_in_everybody_is_not_joined(
    start: Any, clip: Path, address: str
) -> None:
    line = refused(start, clip, address)
    assert line.startswith(f"undercam: the Ray cluster admits everybody: {address}: start it with")
