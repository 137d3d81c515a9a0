"""How a camera stood over time: when it gave video, when it did not, and when nobody knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, and_, func, literal, select
from sqlalchemy.orm import aliased

from pipeline.camera_states import (
    AT_REST,
    READ,
    UNKNOWN,
    UNKNOWN_AFTER_MS,
    from_record,
    is_time_of_day,
)
from pipeline.store.faults import reading
from pipeline.store.schema import camera_status

CHANGES = 500
"""The most changes of state that are read: the last ones of the window."""


@dataclass(frozen=True)
class Stretch:
    """A state over [since_ms, until_ms), and why."""

    since_ms: int
    until_ms: int
    state: str
    reason: str = ""

    @property
    def has_video(self) -> bool:
        """Whether frames came: a face that is not in the rows was not there either."""
        return self.state in READ


def camera_states(
    engine: Engine, camera: str, since_ms: int, until_ms: int, limit: int = CHANGES
) -> list[Stretch]:
    """The states of a camera, which fill [since_ms, until_ms) in order of time.

    The state that a status before the window told goes on into it. It goes on for UNKNOWN_AFTER_MS
    after it was last told, then the camera is `unknown`; only `ended` and `stopped` last until the
    next one. Before the last `limit` changes of a window it is `unknown` too.
    """
    with reading(engine) as connection:
        rows = connection.execute(_told(camera, since_ms, until_ms, limit)).mappings().all()
    told = [_stretch(row) for row in rows if is_time_of_day(row["since_ms"])]
    told.sort(key=lambda stretch: stretch.since_ms)
    cut = [
        Stretch(one.since_ms, min(one.until_ms, after.since_ms), one.state, one.reason)
        for one, after in pairwise(told)
    ]
    return _filled([*cut, *told[-1:]], since_ms, until_ms)


def _told(camera: str, since_ms: int, until_ms: int, limit: int) -> Select[Any]:
    """The last status of every state that began before until_ms, back to the first that began
    before since_ms; the beginnings are found one by one, by an index."""
    begins = _latest_begin(camera, until_ms)
    first = select(begins.label("since_ms"), literal(1).label("number")).cte(
        "changes", recursive=True
    )
    before = aliased(first)
    earlier = select(_latest_begin(camera, before.c.since_ms), before.c.number + 1).where(
        before.c.since_ms > since_ms, before.c.number < limit
    )
    changes = first.union_all(earlier)
    status = camera_status.alias("last_told")
    newest = camera_status.alias("newest")
    last_id = (
        select(newest.c.id)
        .where(newest.c.camera == camera, newest.c.since_ms == changes.c.since_ms)
        .order_by(newest.c.stored_ms.desc(), newest.c.seq.desc())
        .limit(1)
        .correlate(changes)
        .scalar_subquery()
    )
    older, recent = camera_status.alias("older"), camera_status.alias("recent")
    heard_before = (
        select(func.max(older.c.stored_ms))
        .where(_same(older, status), older.c.stored_ms < status.c.stored_ms - UNKNOWN_AFTER_MS)
        .correlate(status)
        .scalar_subquery()
    )
    told_since = (
        select(func.count())
        .select_from(recent)
        .where(_same(recent, status), recent.c.stored_ms >= status.c.stored_ms - UNKNOWN_AFTER_MS)
        .correlate(status)
        .scalar_subquery()
    )
    return select(
        *(status.c[name] for name in ("run", "state", "reason", "since_ms", "stored_ms")),
        heard_before.label("heard_before_ms"),
        told_since.label("told"),
    ).join_from(changes, status, status.c.id == last_id)


def _latest_begin(camera: str, before_ms: int | ColumnElement[int]) -> Any:
    status = camera_status.alias()
    query = select(func.max(status.c.since_ms)).where(status.c.camera == camera)
    return query.where(status.c.since_ms < before_ms).scalar_subquery()


def _same(one: Any, other: Any) -> ColumnElement[bool]:
    return and_(one.c.camera == other.c.camera, one.c.since_ms == other.c.since_ms)


def _stretch(row: Mapping[Any, Any]) -> Stretch:
    state, reason = from_record(row["state"], row["run"], row["reason"])
    since_ms, heard_ms = row["since_ms"], row["stored_ms"]
    if state in AT_REST:
        return Stretch(since_ms, 2**63, state, reason)
    # What lay in the outbox of a machine that died is stored when it is back, much later. Each such
    # status speaks for as long as any: so a few cannot stand for hours, and a backlog can.
    if row["heard_before_ms"] is not None:
        heard_ms = min(heard_ms, row["heard_before_ms"] + UNKNOWN_AFTER_MS * row["told"])
    return Stretch(since_ms, max(heard_ms, since_ms) + UNKNOWN_AFTER_MS, state, reason)


def _filled(told: Sequence[Stretch], since_ms: int, until_ms: int) -> list[Stretch]:
    """Cut to the window, and unknown in between."""
    found: list[Stretch] = []
    at_ms = since_ms
    for one in told:
        start, end = max(one.since_ms, at_ms), min(one.until_ms, until_ms)
        if end <= start:
            continue
        if start > at_ms:
            found.append(Stretch(at_ms, start, UNKNOWN))
        found.append(Stretch(start, end, one.state, one.reason))
        at_ms = end
    if at_ms < until_ms:
        found.append(Stretch(at_ms, until_ms, UNKNOWN))
    return found
