"""The environment variables that must be set before Ray is imported."""

from __future__ import annotations

import os
import site
from pathlib import Path

LOCAL = "local"
"""The address that means: start Ray on this machine, for this command alone."""
ALWAYS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Whoever can connect to Ray can run code in it. The token: see `connection`.
    "RAY_AUTH_MODE": "token",
    "PYTHONSAFEPATH": "1",
    # Ray would replace our handler of SIGTERM, and abort the process.
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",
}
ALONE = {
    # Ray on loopback, as on machines where it builds no clusters.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def prepare(address: str) -> None:
    """Set them for this process and all that it starts."""
    os.environ.update(ALWAYS | (ALONE if address == LOCAL else {}))
    if path := python_path(os.environ.pop("PYTHONPATH", "")):
        os.environ["PYTHONPATH"] = path


def python_path(before: str) -> str:
    """PYTHONPATH of our processes: our own packages first, and never the current folder, which an
    empty entry means too."""
    entries = [entry for entry in before.split(os.pathsep) if os.path.normpath(entry or ".") != "."]
    ours = str(Path(__file__).parents[3])
    if ours not in (*entries, *site.getsitepackages()):
        entries.insert(0, ours)
    return os.pathsep.join(entries)
