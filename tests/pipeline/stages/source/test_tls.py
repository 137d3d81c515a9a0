"""Cameras that speak TLS: only the one that is meant is believed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from pipeline.settings import SourceSettings
from tests.pipeline.certificate import self_signed
from tests.pipeline.stages.source.cameras import QUICK, RtspCamera, http_camera, mjpeg, watch

pytestmark = pytest.mark.needs("openssl")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return self_signed(tmp_path)


@pytest.fixture(params=[pytest.param("rtsps", marks=pytest.mark.needs("rtsp")), "https"])
def url(request: pytest.FixtureRequest, certificate: Path) -> Iterator[str]:
    """A camera's address; its certificate is of 127.0.0.1."""
    with (_rtsps if request.param == "rtsps" else _https)(certificate) as found:
        yield found


@contextmanager
def _rtsps(certificate: Path) -> Iterator[str]:
    with RtspCamera(Path("none"), "--tls", str(certificate.parent)) as camera:
        yield camera.url("live").replace("rtsp:", "rtsps:")


@contextmanager
def _https(certificate: Path) -> Iterator[str]:
    with http_camera(partial(mjpeg, pictures=200, fps=25), certificate) as found:
        yield f"{found}/video"


def settings(**given: object) -> SourceSettings:
    return QUICK.model_copy(update=given)


def test_whoever_its_authority_vouches_for_is_believed(url: str, certificate: Path) -> None:
    with watch(url, settings(ca_file=str(certificate))) as viewer:
        viewer.sees(3)


def test_nobody_else_is(url: str, certificate: Path, tmp_path: Path) -> None:
    with watch(url) as viewer:
        viewer.finds("refused", "certificate is not trusted (self-signed certificate): set source.")
        assert viewer.frames == []
    elsewhere = url.replace("127.0.0.1", "localhost")
    with watch(elsewhere, settings(ca_file=str(certificate))) as viewer:
        viewer.finds("refused", "certificate is not trusted (Hostname mismatch")
        assert "localhost" not in viewer.source.connection_state.reason
        assert viewer.frames == []
    with watch(url, settings(ca_file=str(tmp_path / "none.pem"))) as viewer:
        viewer.finds("refused", "certificate cannot be read (No such file or directory): correct")


def test_unless_it_is_said_that_anybody_will_do(url: str) -> None:
    with watch(url, settings(tls_verify=False)) as viewer:
        viewer.sees(3)


@pytest.mark.parametrize("scheme", ["https:", "rtsps:"])
def test_a_camera_without_tls(scheme: str) -> None:
    camera = http_camera(partial(mjpeg, pictures=200, fps=25))
    with camera as url, watch(url.replace("http:", scheme)) as viewer:
        viewer.finds("refused", "it does not speak TLS")
