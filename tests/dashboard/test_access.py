"""Who may change something, and what the pages say where the network can read too much."""

from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.request import urlopen

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard import access, app
from dashboard.access import current_user, may_change
from dashboard.launch import build_command, build_url, serve
from dashboard.sign_in.users import User
from pipeline.cli.checks.services import checks_of_services
from pipeline.config import load
from pipeline.errors import ConfigError

ANNA = {"x-undercam-user": "anna%40x", "x-undercam-role": "admin"}


@pytest.mark.parametrize(
    ("users_file", "headers", "user"),
    [
        ("users", ANNA, User("anna@x", "admin")),
        ("users", ANNA | {"x-undercam-role": "viewer"}, User("anna@x", "viewer")),
        ("users", {}, None),
        ("", ANNA, None),
    ],
)
def test_only_an_admin_who_has_signed_in_may_change_anything(
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    users_file: str,
    headers: dict[str, str],
    user: User | None,
) -> None:
    monkeypatch.setenv("UNDERCAM_DASHBOARD__USERS_FILE", users_file)
    monkeypatch.setattr(access.st, "context", SimpleNamespace(headers=headers))
    assert current_user() == user
    assert may_change() == (user is not None and user.role == "admin")


OPEN = "These pages are open to the network without"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"HOST": "0.0.0.0"}, f"{OPEN} sign-in and without TLS"),
        ({"HOST": "0.0.0.0", "USERS_FILE": "users"}, f"{OPEN} TLS"),
        ({"HOST": "10.0.0.7", "TLS_BY_PROXY": "true"}, f"{OPEN} sign-in"),
        ({"HOST": "::", "USERS_FILE": "users", "CERTIFICATE": "c", "KEY": "k"}, ""),
        ({}, ""),
        ({"HOST": "::1"}, ""),
    ],
)
def test_a_line_on_every_page(
    furnished: object,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    sentence: str,
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"UNDERCAM_DASHBOARD__{name}", value)
    shown = AppTest.from_file(app.__file__, default_timeout=60).run()
    bodies = " ".join(element.proto.body for element in shown.get("html"))
    assert (OPEN in bodies) == bool(sentence)
    assert sentence in bodies
    assert "Sign out" not in bodies
    st.cache_resource.clear()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        [*command, "-keyout", file, "-out", file.with_name("cert.pem")],
        check=True,
        capture_output=True,
    )
    file.write_text(file.read_text() + file.with_name("cert.pem").read_text())
    return file


@pytest.mark.needs("openssl")
def test_tls(certificate: Path) -> None:
    files = {"certificate": str(certificate), "key": str(certificate)}
    with serve(load(dashboard={"port": 0, **files}), "sqlite:///none.db") as served:
        assert served.url.startswith("https://127.0.0.1:")
        trusted = ssl.create_default_context(cafile=str(certificate))
        url = served.url.replace("127.0.0.1", "localhost")
        with urlopen(f"{url}/_stcore/health", context=trusted, timeout=30) as reply:
            assert reply.read() == b"ok"
        port = int(served.url.rpartition(":")[2])
        ours = load(dashboard={"port": port, **files})
        found = checks_of_services(ours)["dashboard port"].probe()
        assert found == f"127.0.0.1:{port}, served already by Undercam"


def test_a_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="certificate and key need each other"):
        load(dashboard={"certificate": "c.pem"})
    (tmp_path / "x.pem").write_text("nothing")
    for name in ("none.pem", "x.pem"):
        files = dict.fromkeys(("certificate", "key"), str(tmp_path / name))
        with pytest.raises(ConfigError, match=rf"certificate not usable: .*{name}"):
            serve(load(dashboard={"port": 0, **files}), "sqlite:///none.db")


def test_the_server_gets_the_certificate() -> None:
    wanted = load(dashboard={"certificate": "c.pem", "key": "k.pem"}).dashboard
    words = build_command(wanted, 1)
    assert {"--server.sslCertFile=c.pem", "--server.sslKeyFile=k.pem"} <= set(words)
    assert build_url(wanted, 8501) == "https://127.0.0.1:8501"
    assert not any("ssl" in word for word in build_command(load().dashboard, 1))


LINES = {
    '{"host": "0.0.0.0"}': "without sign-in and without TLS: 0.0.0.0: set dashboard.users_file or "
    "dashboard.oidc, and dashboard.certificate or dashboard.tls_by_proxy",
    '{"host": "0.0.0.0", "tls_by_proxy": true}': "without sign-in: 0.0.0.0: set "
    "dashboard.users_file or dashboard.oidc",
}
WARN = "from dashboard.__main__ import _warn; _warn()"


@pytest.mark.parametrize(("settings", "line"), LINES.items(), ids=str)
def test_a_line_at_the_start(settings: str, line: str) -> None:
    assert warned(settings) == f"undercam: the pages are open to the network {line}\n"


def test_no_line_without_reason(tmp_path: Path) -> None:
    assert warned("{}") == ""
    file = tmp_path / "users"
    assert warned(f'{{"users_file": "{file}"}}') == (
        f"undercam: nobody can sign in yet: {file}: make a user with `undercam users add NAME "
        f"--role admin --file {file}`\n"
    )


def warned(settings: str) -> str:
    environment = {"UNDERCAM_DASHBOARD": settings}
    done = subprocess.run(
        [sys.executable, "-c", WARN], env=environment, capture_output=True, text=True, check=True
    )
    return done.stderr
