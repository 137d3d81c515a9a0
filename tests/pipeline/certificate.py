"""Certificates to test TLS with: by themselves, or signed by an authority of our own."""

from __future__ import annotations

import subprocess
from pathlib import Path

_REQUEST = "openssl req -newkey rsa:2048 -nodes"


def self_signed(folder: Path) -> Path:
    """Of 127.0.0.1 by itself, PEM; beside it key.pem, and both.pem with the two of them."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = [*f"{_REQUEST} -x509 -days 2 -subj /CN=127.0.0.1".split()]
    made += ["-addext", "subjectAltName=IP:127.0.0.1"]
    _run(*made, "-keyout", key, "-out", certificate)
    (folder / "both.pem").write_text(key.read_text() + certificate.read_text())
    return certificate


def make_authority(folder: Path) -> Path:
    """The certificate of a new authority, PEM; its key lies beside it."""
    folder.mkdir(exist_ok=True)
    made = f"{_REQUEST} -x509 -days 2 -subj /CN=authority".split()
    _run(*made, "-keyout", folder / "authority.key", "-out", folder / "authority.pem")
    return folder / "authority.pem"


def sign(authority: Path, folder: Path, name: str) -> Path:
    """A certificate of the authority for `IP:ADDRESS` or `DNS:HOST`, PEM, with its key before it;
    beside it key.pem and certificate.pem."""
    folder.mkdir(exist_ok=True)
    key, certificate, request = (
        folder / made for made in ("key.pem", "certificate.pem", "request.pem")
    )
    wanted = [*_REQUEST.split(), "-subj", "/CN=server", "-addext", f"subjectAltName={name}"]
    _run(*wanted, "-keyout", key, "-out", request)
    signing = f"openssl x509 -req -days 2 -copy_extensions copy -in {request} -out {certificate}"
    _run(*signing.split(), "-CA", authority, "-CAkey", authority.with_suffix(".key"))
    both = folder / "both.pem"
    both.write_text(key.read_text() + certificate.read_text())
    return both


def _run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
