"""Checks of this machine's storage: the state folder, file permissions, free disk space."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from pipeline.bus.locks import FileLock
from pipeline.cli.checks.base import Check, Finding, warning
from pipeline.cli.state import LOCK, holder_of, list_exposed
from pipeline.config import Settings
from pipeline.errors import ServiceError

WARN_BELOW_BYTES, FAIL_BELOW_BYTES = 2 << 30, 100 << 20
MOUNTS = Path("/proc/self/mountinfo")
NETWORK_FILE_SYSTEMS = {
    *("9p", "afs", "ceph", "cifs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "smb2", "smb3"),
    *("smbfs", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "fuse.davfs2"),
}


def checks_of_machine(settings: Settings) -> dict[str, Check]:
    """By name, in the order of display."""
    return {
        "state folder": Check(lambda: _folder(settings)),
        "file modes": Check(lambda: _modes(settings)),
        "disk": Check(lambda: _disk(settings)),
    }


def nearest_existing(path: Path) -> Path:
    """The path, or its nearest parent that exists."""
    path = path.absolute()
    return next(above for above in (path, *path.parents) if above.exists())


def network_share(path: Path, mounts: str | None = None) -> str | None:
    """The type of the network file system that holds a path; None on a local disk, and where it
    cannot be determined. `mounts`: text in the format of /proc/self/mountinfo."""
    try:
        mounts = MOUNTS.read_text("utf-8", "replace") if mounts is None else mounts
    except OSError:
        return None
    place = nearest_existing(path).resolve()
    found: tuple[int, str] = (-1, "")
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[4]))
        if place.is_relative_to(point) and len(point.parts) >= found[0]:
            found = len(point.parts), after.split()[0]
    return found[1] if found[1] in NETWORK_FILE_SYSTEMS else None


def _folder(settings: Settings) -> str | Finding:
    folder = Path(settings.outbox.folder)
    above = nearest_existing(folder)
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        remedy = "make it a folder that this user may write, or set outbox.folder"
        raise ServiceError("state folder cannot be used", str(above), remedy)
    share = network_share(folder)
    if share:
        remedy = "outboxes need a local disk: set outbox.folder"
        return warning(f"{folder} lies on a network share ({share})", remedy)
    if not folder.exists():
        return f"{folder} does not exist yet: the first start creates it"
    if (folder / LOCK).exists():
        lock = FileLock.acquire(folder / LOCK)
        if lock is None:
            return f"{folder}, in use: {holder_of(folder)}"
        lock.close()
    return f"{folder}, free"


def _modes(settings: Settings) -> str | Finding:
    found = list_exposed(settings)
    if not found:
        return "nothing is open to other users"
    first = found[0]
    more = f" and {len(found) - 1} more" if found[1:] else ""
    remedy = f"chmod {first.wanted:o}; `undercam run` does this to the files that it has created"
    return warning(f"open to other users: {first.path} ({first.mode:o}){more}", remedy)


def _disk(settings: Settings) -> str | Finding:
    place = nearest_existing(Path(settings.outbox.folder))
    free = shutil.disk_usage(place).free
    found = f"{free / (1 << 30):.1f} GiB free at {place}"
    remedy = (
        "free disk space: on a full disk events wait in memory and are lost when the process ends"
    )
    if free < FAIL_BELOW_BYTES:
        raise ServiceError("disk is full", f"{place}, {free >> 20} MiB free", remedy)
    return warning(found, remedy) if free < WARN_BELOW_BYTES else found
