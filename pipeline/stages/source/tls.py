"""TLS for cameras: the options of FFmpeg and Python, and why a handshake failed."""

from __future__ import annotations

import socket
import ssl

from pipeline.settings import SourceSettings
from pipeline.stages.source.connection_errors import ConnectionLost

REMEDY = "set source.ca_file to the authority's PEM file, or source.tls_verify = false"


def tls_options(settings: SourceSettings) -> dict[str, str]:
    """FFmpeg's options: certificates and host names are verified unless the settings say
    otherwise."""
    if not settings.tls_verify:
        return {"tls_verify": "0"}
    authority = settings.ca_file or ssl.get_default_verify_paths().cafile
    return {"tls_verify": "1"} | ({"ca_file": authority} if authority else {})


def tls_context(settings: SourceSettings) -> ssl.SSLContext:
    """The same for Python's own connections; raises OSError for a `ca_file` that cannot be read."""
    context = ssl.create_default_context(cafile=settings.ca_file or None)
    if not settings.tls_verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def check_tls(host: str, port: int, settings: SourceSettings) -> None:
    """Raise ConnectionLost where TLS is why a connection failed, which FFmpeg does not tell."""
    if not settings.tls_verify:
        return
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
    except OSError as error:
        reason = f"the authority's certificate cannot be read ({error.strerror})"
        raise ConnectionLost("refused", f"{reason}: correct source.ca_file") from None
    try:
        with (
            socket.create_connection((host, port), timeout=settings.open_timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            pass
    except ssl.SSLCertVerificationError as error:
        why = error.verify_message.rstrip(".").replace(host, "its host")
        reason = f"its certificate is not trusted ({why})"
        raise ConnectionLost("refused", f"{reason}: {REMEDY}") from None
    except ssl.SSLError:
        reason = "it does not speak TLS"
        raise ConnectionLost(
            "refused", f"{reason}: write http:// or rtsp:// if that is meant"
        ) from None
    except OSError:
        return
