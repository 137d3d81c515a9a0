"""The sections of the settings of what is served over HTTP: the dashboard, metrics and control."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from pipeline.settings import Section

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Wildcard addresses, each with an address at which the local server can be reached."""
BASE_PATH = r"^/?([A-Za-z0-9_~-][A-Za-z0-9_.~-]*(/[A-Za-z0-9_~-][A-Za-z0-9_.~-]*)*/?)?$"
"""Segments of letters, digits and `_ - ~ .`; none begins with a dot."""
PROVIDER = r"^(https://\S+|http://(127\.0\.0\.1|localhost)(:\d+)?/\S*)?$"
"""An identity provider is reached over TLS, unless it runs on this machine."""
HostName = Annotated[str, Field(pattern=r"^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")]


def _check_reference(token: str) -> str:
    """The reference to a token; raises ValueError for the token itself."""
    kind, colon, name = token.partition(":")
    if token and not (kind in ("env", "file") and colon and name):
        raise ValueError("a token is a secret: give a reference to it, env:NAME or file:PATH")
    return token


class OidcSettings(Section):
    """Sign-in to the dashboard through an OpenID Connect provider, if `metadata_url` is set."""

    metadata_url: str = Field(
        "",
        pattern=PROVIDER,
        description="The provider's https:// address that ends in "
        "/.well-known/openid-configuration.",
    )
    client_id: str = Field("", description="Id under which the provider knows the dashboard.")
    client_secret: str = Field(
        "",
        pattern="^((env|file):.+)?$",
        description="Its secret, as a reference: env:NAME or file:PATH.",
    )
    public_url: str = Field(
        "",
        pattern=r"^(https?://[^\s?#]+)?$",
        description="Address of the dashboard in a browser; register PUBLIC_URL/sign-in-done with "
        "the provider as redirect address.",
    )
    claim: str = Field(
        "email",
        min_length=1,
        description="Claim of the provider that `admins` and `viewers` match: an address must be "
        "verified by the provider; or such as groups.",
    )
    admins: tuple[str, ...] = Field(
        (), description="Values of the claim that make an admin, such as anna@example.org."
    )
    viewers: tuple[str, ...] = Field(
        (), description="Values that make a viewer, such as *@example.org; others are refused."
    )

    @model_validator(mode="after")
    def _refuse_half(self) -> OidcSettings:
        missing = [key for key in ("client_id", "public_url") if not getattr(self, key)]
        if self.metadata_url and missing:
            raise ValueError(f"a provider needs {' and '.join(missing)} too")
        if self.metadata_url and not (self.admins or self.viewers):
            raise ValueError("nobody could sign in: give admins or viewers")
        return self


class DashboardSettings(Section):
    """The dashboard's web server."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8501, ge=0, le=65535, description="Port to listen on; 0: a free one.")
    base_path: str = Field(
        "",
        pattern=BASE_PATH,
        description="URL path of the pages behind a proxy that keeps it, such as /cameras.",
    )
    public_hosts: tuple[HostName, ...] = Field(
        (), description="Further host names under which a proxy serves the pages."
    )
    refresh_s: float = Field(
        2.0, ge=0.5, le=3600, description="Seconds between two refreshes of a page."
    )
    users_file: str = Field(
        "", description="File of the users who may sign in, made by `undercam users add`."
    )
    session_hours: float = Field(
        12.0, ge=0.0002, le=720, description="Hours after which a user must sign in again."
    )
    certificate: str = Field("", description="PEM file of the certificate with its chain, for TLS.")
    key: str = Field("", description="PEM file of the certificate's private key.")
    tls_by_proxy: bool = Field(
        False, description="Whether browsers reach the pages only over TLS, through a proxy."
    )
    api_token: str = Field(
        "",
        description="Token of the read-only HTTP API below /api, as a reference: env:NAME or "
        "file:PATH; empty: no API.",
    )
    oidc: OidcSettings = Field(OidcSettings(), description="Sign-in through a provider.")

    @field_validator("api_token")
    @classmethod
    def _refuse_plain_token(cls, token: str) -> str:
        return _check_reference(token)

    @model_validator(mode="after")
    def _refuse_half(self) -> DashboardSettings:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key need each other: give both or neither")
        return self

    @property
    def has_sign_in(self) -> bool:
        """Whether a user has to sign in."""
        return bool(self.users_file or self.oidc.metadata_url)

    @property
    def has_tls(self) -> bool:
        """Whether browsers reach the pages over TLS only."""
        return bool(self.certificate) or self.tls_by_proxy

    def find_exposure(self) -> str:
        """What the network can read or do for want of a setting; "" where nothing.

        >>> DashboardSettings(host="0.0.0.0", tls_by_proxy=True).find_exposure()
        'open to the network without sign-in'
        """
        missing = [
            name
            for name, is_there in (("sign-in", self.has_sign_in), ("TLS", self.has_tls))
            if not is_there and self.host not in LOOPBACK
        ]
        return f"open to the network without {' and without '.join(missing)}" if missing else ""


class MetricsSettings(Section):
    """Metrics for Prometheus."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int | None = Field(
        None, ge=0, le=65535, description="Port of /metrics; 0: a free one; unset: none."
    )


class ControlSettings(Section):
    """The HTTP interface of `undercam run` through which cameras are changed while it works."""

    enabled: bool = Field(True, description="Whether `undercam run` serves it.")
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(0, ge=0, le=65535, description="Port to listen on; 0: a free one.")
    token: str = Field(
        "",
        description="Token that every request must bring, as a reference: env:NAME or file:PATH; "
        "empty: a new one at each start.",
    )
    certificate: str = Field(
        "", description="PEM file of its certificate; empty: HTTP without TLS."
    )
    key: str = Field(
        "", description="PEM file of the certificate's private key; empty: it is in `certificate`."
    )
    url: str = Field(
        "",
        pattern=r"^(https?://[^/@?#\s]+/?)?$",
        description="Address for commands on another machine, such as https://HOST:8600; empty: "
        "what `undercam run` on this machine has written into outbox.folder.",
    )
    ca_file: str = Field(
        "",
        description="PEM file of the certificate authority that `url` is checked against; empty: "
        "the system's.",
    )

    @field_validator("token")
    @classmethod
    def _refuse_plain_token(cls, token: str) -> str:
        return _check_reference(token)

    @model_validator(mode="after")
    def _refuse_key_alone(self) -> ControlSettings:
        if self.key and not self.certificate:
            raise ValueError("a key without a certificate: set control.certificate too")
        return self

    @property
    def is_exposed(self) -> bool:
        """Whether tokens and addresses of cameras cross a network without TLS."""
        return self.enabled and self.host not in LOOPBACK and not self.certificate
