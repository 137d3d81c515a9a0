"""Checks of this machine as one of a Ray cluster: packages, token, folder, database."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from pipeline.cli.checks.base import Check, Finding, warning
from pipeline.config import Settings, resolve
from pipeline.errors import ServiceError
from pipeline.local_paths import is_sqlite, paths_of

PACKAGES = {"supervisor": "supervisor", "aiohttp": "ray[default]"}
"""By module: what `ray up` starts everything with, and what `ray job submit` needs."""
TOKEN_FILE = Path("~/.ray/auth_token")
"""Where Ray looks for its token last."""
PARTS = ("outbox", "store", "bus", "mqtt", "source", "detector", "emotion", "discovery")


def checks_of_cluster(settings: Settings) -> dict[str, Check]:
    """By name, in the order of display; none where Ray is started for the command alone."""
    if settings.cluster.address == "local" or settings.cluster.engine == "local":
        return {}
    return {
        "cluster packages": Check(_packages),
        "cluster token": Check(lambda: _token(os.environ)),
        "cluster folder": Check(lambda: _folder(settings)),
        "cluster database": Check(lambda: _database(settings)),
    }


def _packages() -> str | Finding:
    missing = [package for module, package in PACKAGES.items() if find_spec(module) is None]
    if missing:
        remedy = "pip install 'undercam[cluster]': `ray up` and `ray job submit` need it"
        return warning(f"not installed: {', '.join(missing)}", remedy)
    return f"{' and '.join(PACKAGES.values())} are installed"


def _token(environment: Mapping[str, str]) -> str | Finding:
    if environment.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN is set"
    named = environment.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else TOKEN_FILE.expanduser()
    remedy = "set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file of mode 0600"
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        is_empty = not path.read_text(encoding="utf-8").strip()
    except OSError as error:
        what = f"no token of the Ray cluster ({error.strerror})"
        raise ServiceError(what, str(path), remedy) from error
    if is_empty:
        raise ServiceError("no token of the Ray cluster (the file is empty)", str(path), remedy)
    if mode & 0o077:
        return warning(f"{path} is open to other users ({mode:o})", f"chmod 600 {path}")
    return str(path)


def _folder(settings: Settings) -> str:
    """What the machines of a cluster need: the folder that the command is started in."""
    paths = paths_of(settings, *PARTS)
    relative = [name for name, path in paths.items() if not Path(path).is_absolute()]
    if not relative:
        return "all paths are absolute"
    return f"every machine needs {Path.cwd()}: relative to it: {', '.join(relative)}"


def _database(settings: Settings) -> str | Finding:
    if is_sqlite(resolve(settings.store.url)):
        remedy = "for several machines give store.url a PostgreSQL address"
        return warning("a SQLite file serves a cluster of one machine only", remedy)
    return "can be shared by all machines"
