"""What must stand in the environment before Ray is imported."""

from __future__ import annotations

import os

LOCAL = "local"
"""The address that means: start Ray on this machine, for this command alone."""
ALWAYS = {"RAY_USAGE_STATS_ENABLED": "0"}
ALONE = {
    # Ray on loopback, as on machines where it builds no clusters. Nobody else can reach it then,
    # and it needs no token, which would lie as a file in the user's home.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def prepare(address: str) -> None:
    """Set it for this process and all that it starts."""
    os.environ.update(ALWAYS | (ALONE if address == LOCAL else {}))
