"""Sign-in through an OpenID Connect provider, such as Keycloak, Entra ID or Google."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import OAuth
from joserfc.errors import JoseError
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dashboard.sign_in.form import FINISH
from dashboard.sign_in.users import SignInRefused, User
from pipeline.config import resolve
from pipeline.http_settings import OidcSettings

COOKIE = "undercam_provider"
MAX_SIGN_IN_S = 600
ERRORS = (AuthlibBaseError, JoseError, httpx.HTTPError, RuntimeError, ValueError, KeyError)
"""What Authlib raises for a provider that refuses, is away, or says what cannot be true."""


class Provider:
    """The two requests of a sign-in, START and FINISH, as an ASGI application.

    `answer` makes their responses, with `start` and `finish`. Raises ConfigError for a client
    secret that cannot be read.
    """

    def __init__(
        self, settings: OidcSettings, answer: Callable[[Request], Awaitable[Response]]
    ) -> None:
        self._settings = settings
        self._answer = answer
        self._redirect_url = f"{self._settings.public_url.rstrip('/')}/{FINISH}"
        self._client = OAuth().register(
            "provider",
            server_metadata_url=self._settings.metadata_url,
            client_id=self._settings.client_id,
            client_secret=resolve(self._settings.client_secret),
            client_kwargs={"scope": "openid email profile", "code_challenge_method": "S256"},
        )
        # State and nonce of the sign-in that is under way. Lax: the way back is from another site.
        self._with_state = SessionMiddleware(
            self._respond,
            secret_key=secrets.token_hex(32),
            session_cookie=COOKIE,
            max_age=MAX_SIGN_IN_S,
            same_site="lax",
            https_only=self._redirect_url.startswith("https:"),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one of the two requests."""
        await self._with_state(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)

    async def start(self, request: Request, then: str) -> Response:
        """Sends the browser to the provider. Raises SignInRefused."""
        request.session.clear()
        request.session["then"] = then
        try:
            response: Response = await self._client.authorize_redirect(request, self._redirect_url)
        except ERRORS as error:
            raise self._refuse(error) from error
        return response

    async def finish(self, request: Request) -> tuple[Callable[[], User | None], str]:
        """Who came back from the provider, as a function that finds the user, and `then` of the
        start. Raises SignInRefused."""
        then = str(request.session.get("then", ""))
        try:
            token = await self._client.authorize_access_token(request)
            claims = dict(token["userinfo"])
            if self._settings.claim not in claims:
                # A provider may keep claims for those who ask with the access token.
                more = await self._client.userinfo(token=token)
                claims |= more if more.get("sub") == claims["sub"] else {}
        except ERRORS as error:
            raise self._refuse(error) from error
        finally:
            request.session.clear()
        find_user = partial(find_user_of, claims, self._settings)
        if find_user() is None:
            raise SignInRefused(_describe_stranger(claims, self._settings))
        return find_user, then

    def _refuse(self, error: Exception) -> SignInRefused:
        # The kind of error only: its text may quote the provider's answer, with a token in it.
        kind = getattr(error, "error", "") or type(error).__name__
        sys.stderr.write(
            f"undercam: sign-in through the provider failed: {self._settings.metadata_url}: "
            f"check dashboard.oidc and the provider ({kind})\n"
        )
        return SignInRefused("The provider did not sign you in. Please try again.")


def find_user_of(claims: Mapping[str, Any], settings: OidcSettings) -> User | None:
    """The user with these claims; None for one that the settings do not let in."""
    values = _list_values(claims, settings.claim)
    for role, patterns in (("admin", settings.admins), ("viewer", settings.viewers)):
        if _is_any(values, patterns):
            return User(_name_of(claims), "admin" if role == "admin" else "viewer")
    return None


def _list_values(claims: Mapping[str, Any], claim: str) -> list[str]:
    found = claims.get(claim)
    # Anybody can write any address into a profile: only a verified one says who somebody is.
    if claim == "email" and claims.get("email_verified") not in (True, "true"):
        return []
    values = found if isinstance(found, list) else [found]
    return [value.lower() for value in values if isinstance(value, str)]


def _is_any(values: Iterable[str], patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(value, pattern.lower()) for value in values for pattern in patterns)


def _name_of(claims: Mapping[str, Any]) -> str:
    return str(claims.get("email") or claims.get("preferred_username") or claims["sub"])


def _describe_stranger(claims: Mapping[str, Any], settings: OidcSettings) -> str:
    name = _name_of(claims)
    if settings.claim == "email" and claims.get("email") and not _list_values(claims, "email"):
        return f"Your provider has not verified the address {name}."
    return f"{name} may not see these pages. Ask whoever runs them."
