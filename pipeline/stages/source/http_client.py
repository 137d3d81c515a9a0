"""Asks a camera for one thing by HTTP, again and again over one connection."""

from __future__ import annotations

import base64
import http.client
import socket
from contextlib import suppress
from urllib.parse import SplitResult, unquote, urljoin, urlsplit
from urllib.request import (
    HTTPDigestAuthHandler,
    HTTPPasswordMgrWithDefaultRealm,
    Request,
    parse_http_list,
    parse_keqv_list,
)

from pipeline.closing import Closing
from pipeline.settings import SourceSettings
from pipeline.stages.source.trust import tls_context

MOST_HOPS = 5
SMALL_BYTES = 1 << 16
"""What is read of an answer that is not wanted, so that the connection can go on."""


class LeadsElsewhere(Exception):
    """A redirect to what is no HTTP, or in the open what was asked for in secret, or a circle."""


class HttpClient(Closing):
    """GETs an address with its user and password, by the scheme that the camera asks for, Basic or
    Digest, and follows redirects; neither password nor user goes to another host."""

    def __init__(self, address: SplitResult, settings: SourceSettings) -> None:
        self._address, self._settings = address, settings
        self._connection: http.client.HTTPConnection | None = None
        self._place: tuple[str, str] | None = None
        self._challenge = ""
        passwords = HTTPPasswordMgrWithDefaultRealm()
        self._user = unquote(address.username or "")
        self._password = unquote(address.password or "")
        passwords.add_password(None, _bare(address), self._user, self._password)
        self._digest = HTTPDigestAuthHandler(passwords)

    def close(self) -> None:
        """Hang up."""
        connection, self._connection = self._connection, None
        if connection:
            connection.close()

    def hang_up(self) -> None:
        """End what another thread waits for in here."""
        line = self._connection and self._connection.sock
        if line:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def get(self, headers: dict[str, str]) -> http.client.HTTPResponse:
        """The answer, its body not yet read.

        Raises LeadsElsewhere, OSError, or http.client.HTTPException for what is no HTTP.
        """
        address, may_login = self._address, True
        for _ in range(MOST_HOPS):
            answer = self._ask(address, headers | self._login(address))
            if answer.status == 401 and may_login and self._takes(answer):
                may_login = False
            elif answer.status in (301, 302, 303, 307, 308) and answer.headers["Location"]:
                address = self._next(address, answer.headers["Location"])
            else:
                return answer
            self._pass_over(answer)
        raise LeadsElsewhere

    def _ask(self, address: SplitResult, headers: dict[str, str]) -> http.client.HTTPResponse:
        place = address.scheme, address.netloc.rpartition("@")[2]
        is_kept = self._connection is not None and self._place == place
        if not is_kept:
            self.close()
            self._place = place
        for is_last in (not is_kept, True):
            if self._connection is None:
                self._connection = self._call(address)
            try:
                self._connection.request("GET", _target(address), headers=headers)
                return self._connection.getresponse()
            except (ConnectionError, http.client.BadStatusLine):
                # A kept connection may have been closed in between; a new one is one that failed.
                self.close()
                if is_last:
                    raise
        raise AssertionError("unreachable")

    def _call(self, address: SplitResult) -> http.client.HTTPConnection:
        open_timeout_s, read_timeout_s = (
            self._settings.open_timeout_s,
            self._settings.read_timeout_s,
        )
        host, port = str(address.hostname), address.port
        connection: http.client.HTTPConnection
        if address.scheme == "https":
            context = tls_context(self._settings)
            connection = http.client.HTTPSConnection(
                host, port, timeout=open_timeout_s, context=context
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=open_timeout_s)
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        connection.sock.settimeout(read_timeout_s)
        return connection

    def _takes(self, answer: http.client.HTTPResponse) -> bool:
        """Whether there is something to answer a challenge with, that has not just failed."""
        challenges = answer.headers.get_all("WWW-Authenticate", [])
        known = [c for c in challenges if c.lower().startswith(("digest ", "basic"))]
        # Digest first: it does not tell the password.
        self._challenge = min(known, key=lambda c: c.lower().startswith("basic"), default="")
        return bool(self._user and self._challenge)

    def _login(self, address: SplitResult) -> dict[str, str]:
        if not self._challenge or _place(address) != _place(self._address):
            return {}
        if self._challenge.lower().startswith("basic"):
            told = base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
            return {"Authorization": f"Basic {told}"}
        fields = parse_keqv_list(list(filter(None, parse_http_list(self._challenge[7:]))))
        with suppress(ValueError, KeyError):
            request = Request(_bare(address))
            if digest := self._digest.get_authorization(request, fields):
                return {"Authorization": f"Digest {digest}"}
        return {}

    def _next(self, address: SplitResult, location: str) -> SplitResult:
        there = urlsplit(urljoin(address.geturl(), location))
        schemes = ("https",) if address.scheme == "https" else ("http", "https")
        if there.scheme not in schemes or not there.hostname:
            raise LeadsElsewhere
        return there

    def _pass_over(self, answer: http.client.HTTPResponse) -> None:
        answer.read(SMALL_BYTES)
        if not answer.isclosed():
            self.close()


def _place(address: SplitResult) -> tuple[str, str | None, int | None]:
    return address.scheme, address.hostname, address.port


def _bare(address: SplitResult) -> str:
    """Without user and password."""
    return address._replace(netloc=address.netloc.rpartition("@")[2], fragment="").geturl()


def _target(address: SplitResult) -> str:
    return (address.path or "/") + (f"?{address.query}" if address.query else "")
