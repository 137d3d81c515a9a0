"""What publishes to a MediaMTX server, by its HTTP API (version 3)."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

from pipeline.config import resolve
from pipeline.errors import ServiceError
from pipeline.redact import redact
from pipeline.service_settings import DiscoverySettings

TIMEOUT_S = 3.0
PAGE_ITEMS, MAX_PAGES, MAX_BYTES = 100, 100, 4 * 1024 * 1024
"""Paths on a page, pages, and bytes of one answer: a server that sends more is refused."""
NOT_THE_API = "does not answer as its API does", "give the API's address, port 9997"
VIDEO_TRACKS = {"H264", "H265", "MJPEG", "VP8", "VP9", "AV1", "MPEG-4 Video", "MPEG-1/2 Video"}


class MediaMtxApi:
    """Asks a server which paths have a publisher."""

    def __init__(self, settings: DiscoverySettings) -> None:
        self._settings = settings
        self._open = build_opener(ProxyHandler({})).open

    def list_publishers(self) -> list[str]:
        """Names of the paths that receive video now, sorted.

        Raises ServiceError where the server does not answer, refuses the password, or answers
        with something else; ConfigError for a reference that cannot be resolved.
        """
        names: set[str] = set()
        for page in range(MAX_PAGES):
            answer = self._get(f"/v3/paths/list?itemsPerPage={PAGE_ITEMS}&page={page}")
            try:
                names.update(_ready_names(answer))
                if page + 1 >= int(answer["pageCount"]):
                    break
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise self._fault(*NOT_THE_API) from error
        return sorted(names)

    def _get(self, path: str) -> dict[str, Any]:
        settings = self._settings
        request = Request(settings.api_url.rstrip("/") + path)
        if settings.user:
            pair = f"{resolve(settings.user)}:{resolve(settings.password)}".encode()
            request.add_header("Authorization", f"Basic {base64.b64encode(pair).decode()}")
        try:
            with self._open(request, timeout=TIMEOUT_S) as answer:
                text = answer.read(MAX_BYTES + 1)
            if len(text) > MAX_BYTES:
                raise self._fault("answers with too much", f"{MAX_BYTES} bytes at most")
            parsed: dict[str, Any] = json.loads(text)
        except HTTPError as error:
            error.close()  # it is the answer too, and holds the connection
            if error.code in (401, 403):
                remedy = "set discovery.user and discovery.password to a user with the action api"
                raise self._fault("refuses the password", remedy) from error
            raise self._fault(f"answers {error.code}", "see its log") from error
        except (URLError, OSError, http.client.HTTPException) as error:
            remedy = f"start it, or correct the address ({getattr(error, 'reason', error)})"
            raise self._fault("does not answer", remedy) from error
        except ValueError as error:
            raise self._fault(*NOT_THE_API) from error
        return parsed

    def _fault(self, what: str, remedy: str) -> ServiceError:
        return ServiceError(f"MediaMTX {what}", redact(self._settings.api_url), redact(remedy))


def _ready_names(answer: dict[str, Any]) -> Iterator[str]:
    for item in answer["items"]:
        tracks = item.get("tracks") or ()
        if item["ready"] and any(track in VIDEO_TRACKS for track in tracks):
            yield str(item["name"])


def camera_url(settings: DiscoverySettings, path: str) -> str:
    """The address of a path, without the password: that is added where it is opened."""
    return f"{settings.rtsp_url.rstrip('/')}/{quote(path)}"
