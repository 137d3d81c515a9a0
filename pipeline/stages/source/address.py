"""Which local file or device an address means, and why it may not be read."""

from __future__ import annotations

import hashlib
import re
import stat
from io import BufferedReader
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from pipeline.errors import InputError
from pipeline.redact import redacted

_WEBCAM = re.compile(r"webcam:(\d+)|(/dev/video\d+)")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


Kind = Literal["file", "webcam", "stream", "listen"]
_STREAMS = ("rtsp", "rtsps", "http", "https")


def kind_of(url: str) -> Kind:
    """What an address means: a file, a webcam, a camera that is called, or one that calls us.

    Raises InputError for a scheme that is none of ours.

    >>> kind_of("rtsp://10.0.0.7/live"), kind_of("listen://0.0.0.0:8554/door"), kind_of("clip.mp4")
    ('stream', 'listen', 'file')
    """
    scheme = _SCHEME.match(url)
    match scheme and scheme[1].lower():
        case None:
            return "webcam" if webcam_device(url) else "file"
        case "file":
            return "file"
        case "listen":
            return "listen"
        case name if name in _STREAMS:
            return "stream"
        case name:
            remedy = "give rtsp(s)://, http(s)://, listen://HOST:PORT/NAME, a file or webcam:N"
            raise InputError(f"cannot read from {name}://", redacted(url), remedy)


def webcam_device(url: str) -> str | None:
    """The device of `webcam:N` or `/dev/videoN`; None for any other address.

    >>> webcam_device("webcam:0")
    '/dev/video0'
    """
    match = _WEBCAM.fullmatch(url)
    return match and (match[2] or f"/dev/video{match[1]}")


def local_path(url: str) -> Path:
    """The path that a plain path or a `file://` address means.

    Raises InputError for every other scheme.
    """
    scheme = _SCHEME.match(url)
    if scheme is None:
        return Path(url)
    if scheme[1].lower() != "file":
        raise InputError(
            f"cannot read from {scheme[1]}://",
            redacted(url),
            "give the path of a file, webcam:N or /dev/videoN",
        )
    return Path(unquote(url[scheme.end() :]))


def open_local(url: str) -> BufferedReader:
    """A regular, non-empty file, open for reading.

    Raises InputError, never waits: pipes and devices are refused before they are opened.
    """
    path, where = local_path(url), redacted(url)
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
