"""Sign-in through a provider: the real request chain against a small OpenID Connect provider."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from dashboard.launch import _free_port, serve
from dashboard.sign_in.provider import find_user_of
from dashboard.sign_in.users import User
from pipeline.config import load
from pipeline.errors import ConfigError
from pipeline.http_settings import OidcSettings

SECRET = "a-client-s3cret"
ANNA = {"sub": "1", "email": "Anna@example.org", "email_verified": True}


class SmallProvider(ThreadingHTTPServer):
    """Signs in whoever `claims` says, at once: discovery, authorize, token, keys and userinfo."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.issuer = f"http://127.0.0.1:{self.server_port}"
        self.key = RSAKey.generate_key(2048, {"kid": "1"})
        self.signing_key = self.key
        self.claims: dict[str, Any] = dict(ANNA)
        self.userinfo: dict[str, Any] = {}
        self.changes: dict[str, Any] = {}
        self.codes: dict[str, dict[str, list[str]]] = {}
        self.faults: list[str] = []

    def metadata(self) -> dict[str, Any]:
        names = ("authorize", "token", "keys", "userinfo")
        at = {name: f"{self.issuer}/{name}" for name in names}
        return {
            "issuer": self.issuer,
            "authorization_endpoint": at["authorize"],
            "token_endpoint": at["token"],
            "jwks_uri": at["keys"],
            "userinfo_endpoint": at["userinfo"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        }

    def redeem(self, fields: dict[str, list[str]], authorization: str) -> dict[str, Any] | None:
        asked = self.codes.pop(fields.get("code", [""])[0], None)
        expected = base64.b64encode(f"cams:{SECRET}".encode()).decode()
        if asked is None or authorization != f"Basic {expected}":
            return None
        digest = hashlib.sha256(fields["code_verifier"][0].encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != asked["code_challenge"][0]:
            return None
        now = int(time.time())
        claims = {
            **{"iss": self.issuer, "aud": "cams", "iat": now, "exp": now + 60},
            **{"nonce": asked["nonce"][0]},
            **self.claims,
            **self.changes,
        }
        token = jwt.encode({"alg": "RS256", "kid": "1"}, claims, self.signing_key)
        return {"access_token": "an-access-token", "token_type": "Bearer", "id_token": token}


class _Handler(BaseHTTPRequestHandler):
    server: SmallProvider

    def do_GET(self) -> None:
        place, asked = urlsplit(self.path), parse_qs(urlsplit(self.path).query)
        match place.path:
            case "/.well-known/openid-configuration":
                self._reply(self.server.metadata())
            case "/keys":
                self._reply({"keys": [self.server.key.as_dict(private=False)]})
            case "/userinfo":
                is_known = self.headers["Authorization"] == "Bearer an-access-token"
                self._reply(self.server.userinfo if is_known else {})
            case "/authorize":
                code = secrets.token_hex(8)
                self.server.codes[code] = asked
                answer = {"code": code, "state": asked["state"][0]}
                self.send_response(302)
                self.send_header("Location", f"{asked['redirect_uri'][0]}?{urlencode(answer)}")
                self.end_headers()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        token = self.server.redeem(parse_qs(body), self.headers["Authorization"])
        self._reply(token or {"error": "invalid_grant"}, 200 if token else 400)

    def _reply(self, values: dict[str, Any], status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(values).encode())

    def log_message(self, *_: Any) -> None:
        pass


class Browser:
    """Follows redirects and keeps cookies, one jar a server."""

    def __init__(self) -> None:
        self.cookies: dict[str, dict[str, str]] = {}
        self.trail: list[str] = []

    def get(self, url: str) -> tuple[int, str]:
        place = urlsplit(url)
        jar = self.cookies.setdefault(place.netloc, {})
        connection = HTTPConnection(place.netloc, timeout=60)
        cookies = "; ".join(f"{name}={value}" for name, value in jar.items())
        path = f"{place.path or '/'}?{place.query}" if place.query else place.path or "/"
        connection.request("GET", path, headers={"Accept": "text/html", "Cookie": cookies})
        reply = connection.getresponse()
        for header in reply.headers.get_all("Set-Cookie", []):
            name, _, value = header.partition(";")[0].partition("=")
            jar[name] = value
        body = reply.read().decode("utf-8", "replace")
        connection.close()
        self.trail.append(url)
        if location := reply.headers.get("Location"):
            return self.get(urljoin(url, location))
        return reply.status, body


@pytest.fixture(scope="module")
def provider() -> Iterator[SmallProvider]:
    with SmallProvider() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def address(provider: SmallProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("provider")
    (folder / "secret").write_text(SECRET + "\n")
    port = _free_port("127.0.0.1", 0)
    oidc = {
        "metadata_url": f"{provider.issuer}/.well-known/openid-configuration",
        "client_id": "cams",
        "client_secret": f"file:{folder / 'secret'}",
        "public_url": f"http://127.0.0.1:{port}/",
        "admins": ["anna@example.org"],
        "viewers": ["*@example.org"],
    }
    with serve(load(dashboard={"port": port, "oidc": oidc}), "sqlite:///none.db") as served:
        yield served.url


@pytest.fixture(autouse=True)
def _as_it_was(provider: SmallProvider) -> None:
    provider.claims, provider.userinfo, provider.changes = dict(ANNA), {}, {}
    provider.signing_key = provider.key


def session(browser: Browser, address: str) -> str:
    return browser.cookies[urlsplit(address).netloc].get("undercam_session", "")


def test_there_and_back(provider: SmallProvider, address: str) -> None:
    browser = Browser()
    status, form = browser.get(f"{address}/tracks?only=hall")
    assert 'href="sign-in-start?next=tracks%3Fonly%3Dhall"' in form
    assert "password" not in form
    status, body = browser.get(f"{address}/sign-in-start?next=tracks%3Fonly%3Dhall")
    assert (status, browser.trail[-2].startswith(f"{provider.issuer}/authorize")) == (200, True)
    assert 'content="0;url=tracks?only=hall"' in body
    assert SECRET not in body + " ".join(browser.trail)
    assert session(browser, address)
    status, body = browser.get(f"{address}/tracks")
    assert (status, "<noscript>" in body) == (200, True)


def test_a_code_counts_once_and_for_who_asked(provider: SmallProvider, address: str) -> None:
    browser = Browser()
    browser.get(f"{address}/sign-in-start")
    back = browser.trail[-1]
    for other in (browser, Browser()):
        status, body = other.get(back)
        assert (status, "The provider did not sign you in." in body) == (403, True)
    assert session(other, address) == ""


STRANGERS: dict[str, tuple[dict[str, Any], str]] = {
    "not listed": ({"email": "eve@evil.example"}, "eve@evil.example may not see these pages."),
    "not verified": ({"email_verified": False}, "has not verified the address Anna@example.org"),
    "another client": ({"aud": "others"}, "The provider did not sign you in."),
    "another issuer": ({"iss": "http://127.0.0.1:1"}, "The provider did not sign you in."),
    "replayed": ({"nonce": "old"}, "The provider did not sign you in."),
    "expired": ({"exp": 1}, "The provider did not sign you in."),
}


@pytest.mark.parametrize(("changes", "sentence"), STRANGERS.values(), ids=STRANGERS)
def test_strangers(
    provider: SmallProvider, address: str, changes: dict[str, Any], sentence: str
) -> None:
    provider.changes = changes
    browser = Browser()
    status, body = browser.get(f"{address}/sign-in-start")
    assert (status, sentence in body) == (403, True)
    assert session(browser, address) == ""


def test_a_forged_signature(provider: SmallProvider, address: str) -> None:
    provider.signing_key = RSAKey.generate_key(2048, {"kid": "1"})
    browser = Browser()
    assert browser.get(f"{address}/sign-in-start")[0] == 403
    assert session(browser, address) == ""


def test_claims_that_only_userinfo_has(provider: SmallProvider, address: str) -> None:
    provider.claims, provider.userinfo = {"sub": "1"}, dict(ANNA)
    browser = Browser()
    assert browser.get(f"{address}/sign-in-start")[0] == 200
    assert session(browser, address)
    provider.userinfo = ANNA | {"sub": "2"}
    browser = Browser()
    assert browser.get(f"{address}/sign-in-start")[0] == 403


@pytest.mark.parametrize(
    ("settings", "claims", "user"),
    [
        ({"admins": ["anna@example.org"]}, ANNA, User("Anna@example.org", "admin")),
        ({"viewers": ["*@example.org"]}, ANNA, User("Anna@example.org", "viewer")),
        ({"viewers": ["*"]}, ANNA | {"email_verified": "true"}, User("Anna@example.org", "viewer")),
        ({"viewers": ["*"]}, {"sub": "1", "email": "anna@example.org"}, None),
        ({"viewers": ["*"]}, {"sub": "1"}, None),
        ({"viewers": ["*@example.org"]}, ANNA | {"email": "a@example.org.evil"}, None),
        (
            {"claim": "groups", "admins": ["ops"], "viewers": ["staff"]},
            {"sub": "7", "groups": ["staff", "ops"]},
            User("7", "admin"),
        ),
        (
            {"claim": "groups", "viewers": ["staff"]},
            {"sub": "7", "groups": "staff", "preferred_username": "anna"},
            User("anna", "viewer"),
        ),
        ({"claim": "groups", "viewers": ["staff"]}, {"sub": "7", "groups": 5}, None),
    ],
)
def test_who_is_let_in(settings: dict[str, Any], claims: dict[str, Any], user: User | None) -> None:
    assert find_user_of(claims, OidcSettings(**settings)) == user


FULL = {
    "metadata_url": "https://id.example.org/.well-known/openid-configuration",
    "client_id": "cams",
    "client_secret": "env:OIDC_SECRET",
    "public_url": "https://cameras.example.org",
    "viewers": ["*@example.org"],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metadata_url": "http://id.example.org/x"}, "dashboard.oidc.metadata_url"),
        ({"client_secret": SECRET}, "dashboard.oidc.client_secret"),
        ({"public_url": "cameras.example.org"}, "dashboard.oidc.public_url"),
        ({"client_id": ""}, "a provider needs client_id too"),
        ({"viewers": []}, "nobody could sign in: give admins or viewers"),
    ],
)
def test_settings_that_cannot_work(change: dict[str, Any], message: str) -> None:
    assert load(dashboard={"oidc": FULL}).dashboard.has_sign_in
    with pytest.raises(ConfigError, match=message) as error:
        load(dashboard={"oidc": FULL | change})
    assert SECRET not in str(error.value)


def test_a_secret_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="secret not set: env:OIDC_SECRET"):
        serve(load(dashboard={"oidc": FULL, "port": 0}), "sqlite:///none.db")
