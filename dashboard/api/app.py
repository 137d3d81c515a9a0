"""The resources of the API, all read-only, over `pipeline.store.queries`.

A resource is one function. Times are ISO 8601, UTC where they name no zone, or milliseconds UTC;
errors are {"what", "where", "remedy"}, as a command prints them. `openapi.json` describes it all.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Header, HTTPException, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from dashboard.api.database import ReadOnlyDatabase
from dashboard.api.live import LiveStreams
from dashboard.time_choice import parse_time
from dashboard.time_format import DAY_MS, MINUTE_MS
from pipeline.clock import wall_clock
from pipeline.config import Settings
from pipeline.errors import ConfigError, UndercamError
from pipeline.store import queries
from pipeline.store.export import KINDS, Kind, list_columns, read_pages, to_csv, write_parquet
from pipeline.store.queries.observation_rows import START, list_observations
from pipeline.store.queries.track_search import Quality, Sort

VERSION = "1"
HOUR_MS = 60 * MINUTE_MS
MOST_ROWS = 1_000
"""Rows in one answer of JSON; the next page begins behind `next`."""
CHUNK = 1 << 16
_TIME = "ISO 8601, UTC where it names no zone, or milliseconds UTC; default: "
Since = Annotated[str, Query(alias="from", description=f"{_TIME}an hour before.", max_length=40)]
Until = Annotated[str, Query(alias="to", description=f"{_TIME}now.", max_length=40)]
Camera = Annotated[str | None, Query(description="Id of a camera.", max_length=63)]
Label = Literal[
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown"
]


def build_api(settings: Settings) -> FastAPI:
    """The interface, without a check of who asks. Its pages of documentation, which would load
    scripts from elsewhere, are off."""
    database = ReadOnlyDatabase(settings)
    api = FastAPI(
        title="Undercam",
        version=VERSION,
        description="Read-only access to cameras, tracks, observations and shares of expressions. "
        "Labels say what a face shows, not what a person feels.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
    )
    _add_cameras(api, database)
    _add_tracks(api, database)
    _add_observations(api, database)
    _add_exports(api, database)
    streams = LiveStreams(database)

    @api.get("/v1/events", response_class=StreamingResponse, tags=["live"])
    async def stream_events(
        request: Request,
        camera: Camera = None,
        last_event_id: Annotated[str, Header(max_length=300)] = "",
    ) -> Response:
        """New observations as server-sent events, from now or from behind `Last-Event-ID` on."""
        return streams.open(request, camera, last_event_id)

    @api.exception_handler(UndercamError)
    async def describe(_: Request, error: UndercamError) -> JSONResponse:
        status = 400 if isinstance(error, ConfigError) else 503
        body = {"what": error.what, "where": error.where, "remedy": error.remedy}
        return JSONResponse(body, status)

    return api


def _add_cameras(api: FastAPI, database: ReadOnlyDatabase) -> None:
    @api.get("/v1/cameras", tags=["cameras"])
    def list_cameras() -> list[queries.CameraOverview]:
        """Every camera with its state now, its faces in view, and its tracks of the last hour."""
        now = wall_clock()
        return database.ask(queries.camera_overview, now - HOUR_MS, now, 5_000)

    @api.get("/v1/losses", tags=["cameras"])
    def list_losses(
        since: Since = "",
        until: Until = "",
        camera: Camera = None,
    ) -> list[queries.GapRow]:
        """Events known to be lost in that time, at most 500, the latest first."""
        first, last = read_times(since, until)
        return database.ask(queries.recent_gaps, first, last, 500, camera)


def _add_tracks(api: FastAPI, database: ReadOnlyDatabase) -> None:
    @api.get("/v1/tracks", tags=["tracks"])
    def find_tracks(
        since: Since = "",
        until: Until = "",
        camera: Camera = None,
        label: Label | None = None,
        confidence: Annotated[float, Query(ge=0, le=1)] = 0.0,
        duration_s: Annotated[float, Query(ge=0, le=1e9)] = 0.0,
        negative_s: Annotated[float, Query(ge=0, le=1e9)] = 0.0,
        mode: Annotated[str | None, Query(max_length=200)] = None,
        quality: Quality | None = None,
        sort: Sort = "last",
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 100,
        offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    ) -> dict[str, Any]:
        """Tracks found by what was seen of them; without a filter `total` is counted to 10,000."""
        first, last = read_times(since, until)
        wanted = queries.TrackFilter(
            camera=camera,
            label=label,
            least_confidence=confidence,
            least_duration_ms=round(duration_s * 1000),
            negative_ms=round(negative_s * 1000),
            mode=mode,
            quality=quality,
        )
        found = database.ask(
            queries.find_tracks, first, last, wanted, sort=sort, limit=limit, offset=offset
        )
        return {"total": found.total, "tracks": [_track(one) for one in found.tracks]}

    @api.get("/v1/tracks/{track}", tags=["tracks"])
    def show_track(track: str) -> dict[str, Any]:
        """One track, `trk:CAMERA:RUN:NUMBER`; 404 where it is not stored."""
        return _track(_require(database, track))

    @api.get("/v1/tracks/{track}/observations", tags=["tracks"])
    def list_track(track: str, after: Annotated[str, Query(max_length=300)] = "") -> dict[str, Any]:
        """The observations of a track, in order of capture."""
        found = _require(database, track)
        rows = database.ask(
            list_observations,
            found.camera,
            found.first_ms,
            found.last_ms + 1,
            _read_place(after),
            MOST_ROWS,
            (found.run, found.track),
        )
        return _page(rows)


def _add_observations(api: FastAPI, database: ReadOnlyDatabase) -> None:
    @api.get("/v1/observations", tags=["observations"])
    def list_all(
        camera: Annotated[str, Query(max_length=63)],
        since: Since = "",
        until: Until = "",
        after: Annotated[str, Query(description="`next` of the page before.", max_length=300)] = "",
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = MOST_ROWS,
    ) -> dict[str, Any]:
        """Observations of one camera, in order of capture; `next` is null on the last page."""
        first, last = read_times(since, until)
        rows = database.ask(list_observations, camera, first, last, _read_place(after), limit)
        return _page(rows, limit)

    @api.get("/v1/shares", tags=["observations"])
    def list_shares(
        since: Since = "",
        until: Until = "",
        camera: Camera = None,
    ) -> dict[str, queries.Shares]:
        """How often each smoothed label was observed, by camera; a window of more than two minutes
        begins and ends with a whole minute."""
        first, last = read_times(since, until)
        return database.ask(queries.expression_shares, first, last, camera)

    @api.get("/v1/shares/timeline", tags=["observations"])
    def show_timeline(
        since: Since = "",
        until: Until = "",
        camera: Camera = None,
        points: Annotated[int, Query(ge=1, le=1_000)] = 120,
    ) -> queries.Timeline:
        """The same over time, in at most about `points` round buckets; of one camera or of all."""
        first, last = read_times(since, until)
        return database.ask(queries.expression_timeline, camera, first, last, points)


def _add_exports(api: FastAPI, database: ReadOnlyDatabase) -> None:
    @api.get("/v1/export/{name}", response_class=StreamingResponse, tags=["export"])
    def export(
        name: Literal["observations.csv", "observations.parquet", "tracks.csv", "tracks.parquet"],
        since: Since = "",
        until: Until = "",
        camera: Camera = None,
    ) -> Response:
        """All rows of that time as a file, the same as `undercam export-data` writes."""
        first, last = read_times(since, until)
        kind: Kind = KINDS[0] if name.startswith(KINDS[0]) else KINDS[1]
        engine = database.open()
        columns = list_columns(kind)
        pages = read_pages(engine, kind, first, last, camera)
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        if name.endswith(".csv"):
            return StreamingResponse(to_csv(columns, pages), headers=headers, media_type="text/csv")
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it has been sent
        try:
            write_parquet(columns, pages, file)
        except BaseException:
            file.close()
            raise
        kind_of_file = "application/vnd.apache.parquet"
        return StreamingResponse(_send(file), headers=headers, media_type=kind_of_file)


def read_times(since: str, until: str) -> tuple[int, int]:
    """[since, until) in milliseconds UTC; by default the last hour. Raises ConfigError."""
    last = _read_time(until, "to") if until else wall_clock()
    first = _read_time(since, "from") if since else last - HOUR_MS
    if not first < last:
        raise ConfigError("no time between them", "from, to", "give a `to` that is later")
    if last - first > 3660 * DAY_MS:
        raise ConfigError("too long a time", "from, to", "give at most ten years")
    return first, last


def _read_time(text: str, name: str) -> int:
    digits = text.lstrip("-")
    found = int(text) if digits.isdecimal() and len(digits) < 16 else parse_time(text, UTC)
    if found is None:
        remedy = "give a time such as 2026-11-29T10:00Z, or milliseconds"
        raise ConfigError("not a time", name, remedy)
    return found


def _read_place(text: str) -> tuple[int, str]:
    """The place that a page ended with, as its `next` has it."""
    ms, _, name = text.partition("~")
    is_place = ms.lstrip("-").isdecimal() and len(ms) < 20
    return (int(ms), name) if is_place else START


def _page(rows: list[dict[str, Any]], limit: int = MOST_ROWS) -> dict[str, Any]:
    last = rows[-1] if len(rows) == limit else None
    following = f"{last['captured_ms']}~{last['id']}" if last else None
    return {"observations": rows, "next": following}


def _track(found: queries.TrackSummary) -> dict[str, Any]:
    names = ("id", "label", "duration_ms", "negative_ms", "observations")
    return {name: getattr(found, name) for name in names} | asdict(found)


def _require(database: ReadOnlyDatabase, track: str) -> queries.TrackSummary:
    found = database.ask(queries.find_totals, track)
    if found is None:
        raise HTTPException(404, "no such track")
    return found


def _send(file: Any) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while part := file.read(CHUNK):
            yield part
