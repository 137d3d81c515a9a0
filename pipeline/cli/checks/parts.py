"""Checks of what this machine computes with: packages, device, detector, weights, Ray."""

from __future__ import annotations

import os
import platform
import socket
from importlib.metadata import PackageNotFoundError, version

from pipeline.cli.checks.base import LOCAL_TIMEOUT_S, REMOTE_TIMEOUT_S, Check, Finding, warning
from pipeline.cli.output import data_folders
from pipeline.config import Settings
from pipeline.emotion_settings import check_gpus
from pipeline.errors import ConfigError, ServiceError

PACKAGES = ("torch", "opencv-python", "av", "onnxruntime", "sqlalchemy", "ray")
SHARED_MEMORY_BYTES = 128 * 1024 * 1024
"""Shared memory that a local Ray needs."""
CONNECT_TIMEOUT_S = 5.0


def checks_of_parts(settings: Settings) -> dict[str, Check]:
    """By name, in the order of display."""
    return {
        "packages": Check(_packages),
        "device": Check(lambda: _device(settings), LOCAL_TIMEOUT_S),
        "detector": Check(lambda: _detector(settings), LOCAL_TIMEOUT_S),
        "weights": Check(lambda: _weights(settings), LOCAL_TIMEOUT_S),
        "engine": Check(lambda: _engine(settings), REMOTE_TIMEOUT_S),
    }


def _packages() -> str:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        remedy = "install undercam again with pip, into this environment"
        raise ConfigError(f"packages are missing: {', '.join(missing)}", "Python", remedy)
    return f"Python {platform.python_version()}, {', '.join(found)}"


def _device(settings: Settings) -> str:
    from pipeline.stages.classify import check_device

    routes = settings.emotion.routes.by_name()
    for route in routes.values():
        check_device(route)
    return "; ".join(f"{name}: {each.device}, {each.dtype}" for name, each in routes.items())


def _detector(settings: Settings) -> str:
    import numpy as np

    from pipeline.stages.detect import open_detect

    detect = open_detect(settings.detector, data_folders())
    detect(np.zeros((120, 160, 3), np.uint8))
    return detect.name


def _weights(settings: Settings) -> str:
    import numpy as np

    from models.crops import CROP_PX
    from pipeline.frames import ClassifyRequest
    from pipeline.stages.classify import open_route

    crop, found = np.zeros((1, CROP_PX, CROP_PX, 3), np.uint8), []
    for route in settings.emotion.routes.by_name().values():
        classifier = open_route(route)
        for name in classifier.names():
            classifier.classify(ClassifyRequest(crop, np.zeros(1, np.int64), (name,)))
            found.append(name or route.weights)
    return " and ".join(found)


def _engine(settings: Settings) -> str | Finding:
    check_gpus(settings.emotion)
    address = settings.cluster.address
    if address == "local":
        free = os.statvfs("/dev/shm") if os.path.isdir("/dev/shm") else None
        free_bytes = free.f_bavail * free.f_frsize if free else SHARED_MEMORY_BYTES
        if free_bytes < SHARED_MEMORY_BYTES:
            found = f"{free_bytes >> 20} MiB of shared memory are free, a local Ray needs 128"
            return warning(found, "make /dev/shm larger (docker run --shm-size=512m)")
        return f"Ray {version('ray')}, started here by `undercam run`"
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return f"Ray {version('ray')}, cluster.address {address}"
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        remedy = f"start it, or set cluster.address = 'local' ({error.strerror or error})"
        raise ServiceError("no Ray cluster there", address, remedy) from error
    return f"Ray {version('ray')}, {address} answers"
