"""Opens and checks the local file or device of an address.

`pipeline.camera_url` parses addresses by their text alone.
"""

from __future__ import annotations

import errno
import grp
import hashlib
import os
import stat
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from pipeline.camera_url import SCHEME, find_live_url_fault, kind_of, webcam_device
from pipeline.errors import InputError
from pipeline.redact import redact

__all__ = [
    "check_webcam",
    "kind_of",
    "live_address",
    "local_path",
    "open_local",
    "run_id",
    "webcam_device",
]

CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")
"""Files that Docker and Podman create in every container."""


def live_address(url: str) -> SplitResult:
    """The parts of a live camera's address; raises InputError for any other, and for one whose
    user or password has characters that must be percent-encoded."""
    if fault := find_live_url_fault(url):
        raise InputError(fault[0], redact(url), fault[1])
    return urlsplit(url)


def check_webcam(device: str) -> None:
    """Raise InputError, with the remedy, for a device that is missing or not permitted."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_NONBLOCK))
    except OSError as error:
        raise _explain_webcam_error(device, error) from error


def _explain_webcam_error(device: str, error: OSError) -> InputError:
    if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        if is_container():
            remedy = f"start the container with --device {device}"
            return InputError("the container has no such webcam", device, remedy)
        there = ", ".join(sorted(map(str, Path(device).parent.glob("video*")))) or "none"
        return InputError("no such webcam", device, f"plug it in; there is: {there}")
    if error.errno == errno.EPERM and is_container():
        remedy = f"start the container with --device {device}, which also permits it"
        return InputError("the container may not use the webcam", device, remedy)
    if isinstance(error, PermissionError):
        group = _group_of(device)
        remedy = f"join the group `{group}` (usermod -aG {group} USER) and log in again"
        if is_container():
            remedy = f"start the container with --group-add {group}"
        return InputError("no permission to use the webcam", device, remedy)
    remedy = "close other programs that use it, or plug it in again"
    return InputError(f"the webcam cannot be used ({error.strerror})", device, remedy)


def is_container(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process seems to run in a container."""
    named = {"container", "KUBERNETES_SERVICE_HOST"} & environment.keys()
    return bool(named) or any(map(os.path.exists, CONTAINER_MARKS))


def _group_of(device: str) -> str:
    """The group that a device belongs to; `video`, the usual one, where it is root's or unknown."""
    try:
        group = grp.getgrgid(os.stat(device).st_gid).gr_name
    except (OSError, KeyError):
        return "video"
    return "video" if group == "root" else group


def local_path(url: str) -> Path:
    """The path of a plain path or a `file://` address.

    Raises InputError for every other scheme.
    """
    scheme = SCHEME.match(url)
    if scheme is None:
        return Path(url)
    if scheme[1].lower() != "file":
        raise InputError(
            f"cannot read from {scheme[1]}://",
            redact(url),
            "give the path of a file, webcam:N or /dev/videoN",
        )
    return Path(unquote(url[scheme.end() :]))


def open_local(url: str) -> BufferedReader:
    """A regular, non-empty file, open for reading.

    Raises InputError. It never blocks: pipes and devices are refused before they are opened.
    """
    path, where = local_path(url), redact(url)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError("a directory, not a video", where, "give the path of one video file")
        if not stat.S_ISREG(status.st_mode):
            raise InputError("not a regular file", where, "record it into a file first")
        if status.st_size == 0:
            raise InputError("the file is empty", where, "record or copy it again")
        return path.open("rb")
    except FileNotFoundError as error:
        raise InputError("no such file", where, "check the path") from error
    except PermissionError as error:
        raise InputError(
            "no permission to read", where, "make it readable for this user"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError("cannot be opened", where, f"check the path ({error})") from error


def run_id(url: str | Path, settings_json: str) -> str:
    """The run of a file: 12 hex digits of the SHA-256 of its bytes and the settings in force.

    Raises InputError when the file cannot be read.
    """
    with open_local(str(url)) as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(settings_json.encode())
    return digest.hexdigest()[:12]
