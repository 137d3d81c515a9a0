"""A minimal HTTP client: GETs one address again and again over one connection."""

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
from pipeline.stages.source.tls import tls_context

MAX_REDIRECTS = 5
SMALL_BYTES = 1 << 16
"""Read of a response that is not wanted, so that the connection can be kept."""


class RedirectRefused(Exception):
    """A redirect to something other than HTTP, from https to http, or in a circle."""


class HttpClient(Closing):
    """GETs an address with its user and password, by Basic or Digest as the camera asks, and
    follows redirects; user and password are never sent to another host."""

    def __init__(self, address: SplitResult, settings: SourceSettings) -> None:
        self._address, self._settings = address, settings
        self._connection: http.client.HTTPConnection | None = None
        self._place: tuple[str, str] | None = None
        self._challenge = ""
        passwords = HTTPPasswordMgrWithDefaultRealm()
        self._user = unquote(address.username or "")
        self._password = unquote(address.password or "")
        passwords.add_password(None, _without_login(address), self._user, self._password)
        self._digest = HTTPDigestAuthHandler(passwords)

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection:
            connection.close()

    def abort(self) -> None:
        """End what another thread waits for in here."""
        connected = self._connection and self._connection.sock
        if connected:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def get(self, headers: dict[str, str]) -> http.client.HTTPResponse:
        """The response, its body not yet read.

        Raises RedirectRefused, OSError, or http.client.HTTPException for a response that is
        not HTTP.
        """
        address, may_login = self._address, True
        for _ in range(MAX_REDIRECTS):
            response = self._request(address, headers | self._login(address))
            if response.status == 401 and may_login and self._can_log_in(response):
                may_login = False
            elif response.status in (301, 302, 303, 307, 308) and response.headers["Location"]:
                address = self._follow_redirect(address, response.headers["Location"])
            else:
                return response
            self._discard(response)
        raise RedirectRefused

    def _request(self, address: SplitResult, headers: dict[str, str]) -> http.client.HTTPResponse:
        place = address.scheme, address.netloc.rpartition("@")[2]
        is_kept = self._connection is not None and self._place == place
        if not is_kept:
            self.close()
            self._place = place
        for is_last in (not is_kept, True):
            if self._connection is None:
                self._connection = self._connect(address)
            try:
                self._connection.request("GET", _target(address), headers=headers)
                return self._connection.getresponse()
            except (ConnectionError, http.client.BadStatusLine):
                # A kept connection may have been closed in between; a new one has really failed.
                self.close()
                if is_last:
                    raise
        raise AssertionError("unreachable")

    def _connect(self, address: SplitResult) -> http.client.HTTPConnection:
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

    def _can_log_in(self, response: http.client.HTTPResponse) -> bool:
        """Whether there is a challenge that we can answer, and a user to answer it with."""
        challenges = response.headers.get_all("WWW-Authenticate", [])
        known = [c for c in challenges if c.lower().startswith(("digest ", "basic"))]
        # Digest first: it does not reveal the password.
        self._challenge = min(known, key=lambda c: c.lower().startswith("basic"), default="")
        return bool(self._user and self._challenge)

    def _login(self, address: SplitResult) -> dict[str, str]:
        if not self._challenge or _place(address) != _place(self._address):
            return {}
        if self._challenge.lower().startswith("basic"):
            encoded = base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
            return {"Authorization": f"Basic {encoded}"}
        fields = parse_keqv_list(list(filter(None, parse_http_list(self._challenge[7:]))))
        with suppress(ValueError, KeyError):
            request = Request(_without_login(address))
            if digest := self._digest.get_authorization(request, fields):
                return {"Authorization": f"Digest {digest}"}
        return {}

    def _follow_redirect(self, address: SplitResult, location: str) -> SplitResult:
        target = urlsplit(urljoin(address.geturl(), location))
        schemes = ("https",) if address.scheme == "https" else ("http", "https")
        if target.scheme not in schemes or not target.hostname:
            raise RedirectRefused
        return target

    def _discard(self, response: http.client.HTTPResponse) -> None:
        response.read(SMALL_BYTES)
        if not response.isclosed():
            self.close()


def _place(address: SplitResult) -> tuple[str, str | None, int | None]:
    return address.scheme, address.hostname, address.port


def _without_login(address: SplitResult) -> str:
    """The address without user and password."""
    return address._replace(netloc=address.netloc.rpartition("@")[2], fragment="").geturl()


def _target(address: SplitResult) -> str:
    return (address.path or "/") + (f"?{address.query}" if address.query else "")
