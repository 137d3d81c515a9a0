"""What our processes find in their environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.live.ray.environment import prepare, python_path

OURS = str(Path(__file__).parents[4])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", OURS),
        (":", OURS),
        (".", OURS),
        ("./", OURS),
        (":/some/where", f"{OURS}:/some/where"),
        ("/some/where:.:/else/where:", f"{OURS}:/some/where:/else/where"),
        (f"/some/where:{OURS}", f"/some/where:{OURS}"),
    ],
)
def test_the_current_folder_is_never_searched(before: str, after: str) -> None:
    assert python_path(before) == after


@pytest.mark.parametrize("address", ["local", "auto", "10.0.0.1:6379"])
def test_ray_always_asks_for_a_token(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"):
        monkeypatch.setenv(name, "")
    for name in ("PYTHONSAFEPATH", "PYTHONPATH", "RAY_DISABLE_FAILURE_SIGNAL_HANDLER"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    prepare(address)
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert os.environ["PYTHONSAFEPATH"] == "1"
