"""New observations as server-sent events, read from the database as they are stored."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from dashboard.api.database import ReadOnlyDatabase
from pipeline.clock import wall_clock
from pipeline.errors import UndercamError
from pipeline.store.queries.observation_rows import Place, observations_stored

EVERY_S = 1.0
"""Seconds between two reads."""
LATE_MS = 2_000
"""How far back each read looks again: a transaction may end after one that began later."""
QUIET_S = 15.0
"""After so long without an event a comment is sent, so that proxies keep the connection."""
MOST_STREAMS = 32
PAGE_ROWS = 500


class LiveStreams:
    """The open streams, at most MOST_STREAMS."""

    def __init__(self, database: ReadOnlyDatabase) -> None:
        self._database = database
        self._open = 0

    def open(self, request: Request, camera: str | None, last_event_id: str) -> Response:
        """A stream of one camera or of all; 503 where too many are open."""
        if self._open >= MOST_STREAMS:
            body = {
                "what": "too many streams",
                "where": "events",
                "remedy": f"close one: {MOST_STREAMS} are open",
            }
            return JSONResponse(body, 503)
        events = self._read(request, camera, _read_id(last_event_id))
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(events, headers=headers, media_type="text/event-stream")

    async def _read(
        self, request: Request, camera: str | None, after: Place
    ) -> AsyncIterator[bytes]:
        self._open += 1
        sent: dict[str, int] = {}
        quiet_s = 0.0
        try:
            yield b": connected\n\n"
            while not await request.is_disconnected():
                try:
                    rows = await run_in_threadpool(
                        self._database.ask, observations_stored, after, PAGE_ROWS, camera
                    )
                except UndercamError as error:
                    yield f"event: fault\ndata: {json.dumps({'what': error.what})}\n\n".encode()
                    await asyncio.sleep(EVERY_S)
                    continue
                new = [(place, row) for place, row in rows if row["id"] not in sent]
                for (stored_ms, _), row in new:
                    data = json.dumps(row)
                    yield f"id: {stored_ms}\nevent: observation\ndata: {data}\n\n".encode()
                    sent[row["id"]] = stored_ms
                if len(rows) == PAGE_ROWS:
                    after = rows[-1][0]
                    continue
                after = (max(after[0], wall_clock() - LATE_MS), "")
                sent = {name: ms for name, ms in sent.items() if ms >= after[0] - LATE_MS}
                quiet_s = 0.0 if new else quiet_s + EVERY_S
                if quiet_s >= QUIET_S:
                    quiet_s = 0.0
                    yield b": nothing new\n\n"
                await asyncio.sleep(EVERY_S)
        finally:
            self._open -= 1


def _read_id(text: str) -> Place:
    """From the moment of the last event that a client has, or from now on. Events of that very
    moment are sent again: rather twice than never."""
    is_moment = text.isdecimal() and len(text) < 16
    return (int(text) if is_moment else wall_clock(), "")
