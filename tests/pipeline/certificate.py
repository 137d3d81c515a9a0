"""A certificate to test TLS with."""

from __future__ import annotations

import subprocess
from pathlib import Path


def self_signed(folder: Path) -> Path:
    """Of 127.0.0.1 by itself, PEM; beside it key.pem, and both.pem with the two of them."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1"
    made = [*make.split(), "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*made, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
    )
    (folder / "both.pem").write_text(key.read_text() + certificate.read_text())
    return certificate
