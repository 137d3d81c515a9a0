"""Checks of the services that we use (secrets, store, bus, MQTT) and of the ports that we serve."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

from pipeline.cli.checks.base import Check, Finding, warning
from pipeline.cli.checks.machine import network_share
from pipeline.cli.state import database_file
from pipeline.config import Settings, resolve
from pipeline.errors import ConfigError, ServiceError
from pipeline.http_settings import EVERY_ADDRESS

MAX_BUSY_TIMEOUT_S = 5.0


def checks_of_services(settings: Settings) -> dict[str, Check]:
    """By name, in the order of display."""
    dashboard = settings.dashboard
    return {
        "secrets": Check(lambda: _secrets(settings)),
        "store": Check(lambda: _store(settings)),
        "bus": Check(lambda: _bus(settings)),
        "mqtt": Check(lambda: _mqtt(settings)),
        "dashboard port": Check(
            lambda: _port("dashboard", dashboard.host, dashboard.port, "_stcore/health", b"ok")
        ),
        "metrics port": Check(lambda: _metrics_port(settings)),
    }


def _secrets(settings: Settings) -> str:
    """The references in the settings; a camera's own is checked with the camera."""
    references = list(_references(settings.model_dump(exclude={"cameras"})))
    failed = []
    for reference in references:
        try:
            resolve(reference)
        except ConfigError as error:
            failed.append(error)
    if len(failed) == 1:
        raise failed[0]
    if failed:
        where = ", ".join(error.where for error in failed)
        raise ConfigError("secrets not set or not readable", where, failed[0].remedy)
    return f"{len(references)} references resolve" if references else "no references"


def _references(values: Any) -> Iterator[str]:
    if isinstance(values, dict):
        for value in values.values():
            yield from _references(value)
    elif isinstance(values, str) and (
        values.startswith("env:") or (values.startswith("file:") and "//" not in values[:7])
    ):
        yield values


def _store(settings: Settings) -> str | Finding:
    from pipeline.store.inspection import inspect_store

    url = resolve(settings.store.url)
    found = inspect_store(url, min(settings.store.busy_timeout_s, MAX_BUSY_TIMEOUT_S))
    file = database_file(settings)
    share = network_share(file) if file else None
    if share:
        remedy = "SQLite loses its locks there: put it on a local disk, or use PostgreSQL"
        return warning(f"{found}; on a network share ({share})", remedy)
    return found


def _bus(settings: Settings) -> str:
    if not settings.bus.url:
        return "none: the outbox feeds the store"
    try:
        from pipeline.bus.kafka.probe import probe
    except ModuleNotFoundError as error:
        remedy = "pip install 'undercam[kafka]'"
        raise ConfigError("Kafka's client is missing", "bus.url", remedy) from error
    return probe(settings.bus)


def _mqtt(settings: Settings) -> str:
    if not settings.mqtt.url:
        return "none"
    try:
        from pipeline.bus.mqtt.probe import probe
    except ModuleNotFoundError as error:
        remedy = "pip install 'undercam[mqtt]'"
        raise ConfigError("the MQTT client is missing", "mqtt.url", remedy) from error
    return probe(settings.mqtt)


def _metrics_port(settings: Settings) -> str:
    metrics, dashboard = settings.metrics, settings.dashboard
    if metrics.port and (metrics.host, metrics.port) == (dashboard.host, dashboard.port):
        where = f"{metrics.host}:{metrics.port}"
        raise ConfigError("the dashboard has the same port", where, "give another metrics.port")
    return _port("metrics", metrics.host, metrics.port, "metrics", b"undercam_")


def _port(name: str, host: str, port: int | None, path: str, sign: bytes) -> str:
    if not port:
        return "none" if port is None else f"{host}, a free one"
    where = f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        if _serves(host, port, path, sign):
            return f"{where}, served already by Undercam"
        remedy = f"give another {name}.host or {name}.port ({error.strerror or error})"
        raise ServiceError("cannot listen", where, remedy) from error
    return f"{where} is free"


def _serves(host: str, port: int, path: str, sign: bytes) -> bool:
    """Whether Undercam itself listens there, with TLS or without; nothing secret is sent."""
    name = EVERY_ADDRESS.get(host, host) or "127.0.0.1"
    # Its certificate names the host that browsers use, which is seldom this address.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context))
    for scheme in ("http", "https"):
        url = f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}/{path}"
        try:
            with opener.open(url, timeout=1.0) as answer:
                return sign in answer.read(1_000_000)
        except HTTPError:
            return False
        except (OSError, ValueError, HTTPException):
            continue
    return False
