"""The client of the control interface, by which commands and the dashboard change cameras.

`undercam run` writes where its interface is, and the token, into a file for its user alone.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import socket
import ssl
import stat
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from pipeline.config import Settings, resolve
from pipeline.erasure import Erasure
from pipeline.errors import ConfigError, ServiceError
from pipeline.http_settings import LOOPBACK, ControlSettings
from pipeline.permissions import FILE

CONTROL_FILE, RUN_LOCK = ".control.json", ".run.lock"
"""In the state folder: where the interface is, and the lock of the command that serves it."""
API = "/v1"
CONNECT_S, REQUEST_S, LONG_S = 2.0, 30.0, 600.0
"""Seconds to wait for a connection, for a change, and for the end of a replay."""
MAX_BYTES, NOTE_BYTES = 16_000_000, 4096
"""Largest answer, and largest file, that is read."""
LEAST_TOKEN = 16
Values = dict[str, Any]


@dataclass(frozen=True)
class ControlAddress:
    """Where a control interface is served, on which machine, and the token that it demands; all ""
    where there is none."""

    url: str = ""
    token: str = field(default="", repr=False)
    machine: str = ""

    @property
    def is_reachable(self) -> bool:
        """Whether it can be reached from this machine: another one's loopback cannot."""
        return urlsplit(self.url).hostname not in LOOPBACK or self.machine == socket.gethostname()


class ControlFile:
    """The file in a state folder that says where the control interface is."""

    def __init__(self, folder: str | Path) -> None:
        self._path = Path(folder) / CONTROL_FILE
        self._written = ControlAddress()

    def update(self, address: ControlAddress) -> None:
        """Bring the file up to date, mode 0600; raises OSError."""
        if address == self._written:
            return
        if not address.url:
            self.remove()
            return
        new = self._path.with_suffix(".new")
        new.unlink(missing_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE), "w") as file:
            json.dump(asdict(address), file)
        new.replace(self._path)
        self._written = address

    def remove(self) -> None:
        """Remove the file, where there is one."""
        self._path.unlink(missing_ok=True)
        self._written = ControlAddress()

    def read(self) -> ControlAddress | None:
        """What a command at work has written; None where none is at work, or where the file is not
        for its owner alone. A killed command leaves its file behind, but never its lock."""
        try:
            if not _is_locked(self._path.with_name(RUN_LOCK)):
                return None
            with open(os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW)) as file:
                if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & ~FILE:
                    return None
                return ControlAddress(**json.loads(file.read(NOTE_BYTES)))
        except (OSError, ValueError, TypeError):
            return None


def _is_locked(path: Path) -> bool:
    """Whether a process holds the lock; raises OSError where there is no such file."""
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def read_token(settings: ControlSettings) -> str:
    """The token of the settings, "" where none is set; raises ConfigError for one that cannot be
    used."""
    return resolve_token(settings.token, "the control interface")


def resolve_token(reference: str, of: str) -> str:
    """The token that a reference leads to, "" for none; raises ConfigError for one that cannot be
    used."""
    if not reference:
        return ""
    token = resolve(reference)
    if len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        remedy = f"give {LEAST_TOKEN} or more ASCII characters, such as of `openssl rand -hex 32`"
        raise ConfigError(f"not a token for {of}", reference, remedy)
    return token


def find_control(settings: Settings) -> ControlClient | None:
    """The client of `control.url`, else of the command that works in our state folder, else None.

    Nothing is sent. Raises ConfigError for settings that cannot be used.
    """
    control = settings.control
    if control.url:
        if not control.token:
            remedy = "set it to a reference to the token that `undercam run` there has"
            raise ConfigError("no token for the control interface", "control.token", remedy)
        return ControlClient(control.url, read_token(control), control.ca_file)
    found = ControlFile(settings.outbox.folder).read()
    return ControlClient(found.url, found.token, control.ca_file) if found else None


class ControlClient:
    """Lists and changes the cameras of an `undercam run`, as `pipeline.store.stored_cameras` does
    in its database: the same results, and the same errors.

    Everything raises ServiceError where the interface, or the database behind it, does not answer,
    and ConfigError for what it refuses.
    """

    def __init__(self, url: str, token: str, ca_file: str = "") -> None:
        self._url, self._token, self._ca_file = url.rstrip("/"), token, ca_file

    def __repr__(self) -> str:
        """Without the token."""
        return f"ControlClient({self._url!r})"

    def health(self) -> Values:
        """`cameras`: the state of each by its name; `waiting`: events in the outboxes; `fault`:
        what keeps events from becoming rows, or ""."""
        return self._request("GET", "/health", timeout_s=CONNECT_S)

    def overview(self) -> dict[str, Values]:
        """See StoredCameras."""
        cameras: dict[str, Values] = self._request("GET", "/cameras")["cameras"]
        return cameras

    def put(self, camera: str, values: Values, is_new: bool = False) -> tuple[bool, Values]:
        """See StoredCameras."""
        query = "?new=true" if is_new else ""
        reply = self._request("PUT", f"/cameras/{quote(camera, safe='')}{query}", values)
        return reply["is_new"], reply["settings"]

    def change(self, camera: str, values: Values) -> tuple[Values, Values]:
        """See StoredCameras."""
        reply = self._request("PATCH", f"/cameras/{quote(camera, safe='')}", values)
        return reply["before"], reply["settings"]

    def remove(self, camera: str) -> None:
        """See StoredCameras."""
        self._request("DELETE", f"/cameras/{quote(camera, safe='')}")

    def replay_dead_letters(self) -> int:
        """Store the dead letters that this release can read; returns how many those were."""
        reply = self._request("POST", "/dead-letters/replay", {}, LONG_S)
        replayed: int = reply["replayed"]
        return replayed

    def erase(self, erasure: Erasure) -> tuple[Values, list[str]]:
        """Erase as `pipeline.store.erasures.erase` does; returns the number of rows by kind, and
        the cameras that the database knows."""
        values: Values = {"track": erasure.track, "camera": erasure.camera}
        if erasure.track is None:
            values["before_ms"] = erasure.before_ms
        reply = self._request("POST", "/erasures", values, LONG_S)
        return reply["counts"], reply["cameras"]

    def _request(
        self, method: str, path: str, body: Values | None = None, timeout_s: float = REQUEST_S
    ) -> Values:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        try:
            connection = self._connect()
            try:
                connection.connect()
                connection.sock.settimeout(timeout_s)
                # http.client follows no redirect, which would carry the token elsewhere, and uses
                # no proxy, which could not reach our loopback address.
                connection.request(method, API + path, data, headers)
                with connection.getresponse() as response:
                    status, text = response.status, response.read(MAX_BYTES)
            finally:
                connection.close()
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise self._fault(f"cannot be reached ({reason})") from None
        return self._read(status, text)

    def _connect(self) -> http.client.HTTPConnection:
        where = urlsplit(self._url)
        if where.scheme == "http":
            return http.client.HTTPConnection(where.hostname or "", where.port, CONNECT_S)
        try:
            context = ssl.create_default_context(cafile=self._ca_file or None)
        except OSError as error:
            remedy = f"give a PEM file ({error.strerror or error})"
            raise ConfigError("cannot be used", "control.ca_file", remedy) from None
        host = where.hostname or ""
        return http.client.HTTPSConnection(host, where.port, timeout=CONNECT_S, context=context)

    def _read(self, status: int, text: bytes) -> Values:
        try:
            reply = json.loads(text)
            if status < http.client.MULTIPLE_CHOICES:
                return dict(reply)
            error = str(reply["what"]), str(reply["where"]), str(reply["remedy"])
        except (ValueError, TypeError, LookupError, RecursionError):
            raise self._fault(f"gives no answer of ours (status {status})") from None
        is_refusal = status < http.client.INTERNAL_SERVER_ERROR
        raise (ConfigError if is_refusal else ServiceError)(*error)

    def _fault(self, what: str) -> ServiceError:
        remedy = "see whether `undercam run` is at work there, and its settings in [control]"
        return ServiceError(f"the control interface {what}", self._url, remedy)
