"""The states of a camera over time: when it had video, when it had none, and when it is unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, and_, func, literal, select
from sqlalchemy.orm import aliased

from pipeline.camera_states import (
    FINAL_STATES,
    UNKNOWN,
    UNKNOWN_AFTER_MS,
    VIDEO_STATES,
    from_record,
    is_time_of_day,
)
from pipeline.store.engine import begin_read
from pipeline.store.schema import camera_status

CHANGES = 500
"""At most this many changes of state are read, the last ones of the window."""


@dataclass(frozen=True)
class StateInterval:
    """A state over [since_ms, until_ms), and why."""

    since_ms: int
    until_ms: int
    state: str
    reason: str = ""

    @property
    def has_video(self) -> bool:
        """Whether frames came. If so, a time without rows is a time without faces."""
        return self.state in VIDEO_STATES


def camera_states(
    engine: Engine, camera: str, since_ms: int, until_ms: int, limit: int = CHANGES
) -> list[StateInterval]:
    """The states of a camera, in order of time; together they fill [since_ms, until_ms).

    A state reported before the window continues into it. A state ends UNKNOWN_AFTER_MS after its
    last report, and the camera is `unknown` until the next one; only `ended` and `stopped` last.
    Before the last `limit` changes of a window the camera is `unknown` too.
    """
    with begin_read(engine) as connection:
        rows = (
            connection.execute(_select_reported(camera, since_ms, until_ms, limit)).mappings().all()
        )
    reported = [_interval(row) for row in rows if is_time_of_day(row["since_ms"])]
    reported.sort(key=lambda interval: interval.since_ms)
    # A state ends no later than the next one begins.
    cut = [
        StateInterval(one.since_ms, min(one.until_ms, after.since_ms), one.state, one.reason)
        for one, after in pairwise(reported)
    ]
    return _fill([*cut, *reported[-1:]], since_ms, until_ms)


def _select_reported(camera: str, since_ms: int, until_ms: int, limit: int) -> Select[Any]:
    """The last status of every state that began before until_ms, back to the first that began
    before since_ms.

    A camera repeats its state every few seconds, so a week has hundreds of thousands of statuses
    but few states. A recursive query therefore jumps from one beginning to the previous by the
    index on (camera, since_ms), instead of reading the statuses in between.
    """
    latest = _latest_begin(camera, until_ms)
    first = select(latest.label("since_ms"), literal(1).label("number")).cte(
        "changes", recursive=True
    )
    before = aliased(first)
    earlier = select(_latest_begin(camera, before.c.since_ms), before.c.number + 1).where(
        before.c.since_ms > since_ms, before.c.number < limit
    )
    changes = first.union_all(earlier)
    status = camera_status.alias("last_report")
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
    last_before_pause = (
        select(func.max(older.c.stored_ms))
        .where(_same(older, status), older.c.stored_ms < status.c.stored_ms - UNKNOWN_AFTER_MS)
        .correlate(status)
        .scalar_subquery()
    )
    recent_reports = (
        select(func.count())
        .select_from(recent)
        .where(_same(recent, status), recent.c.stored_ms >= status.c.stored_ms - UNKNOWN_AFTER_MS)
        .correlate(status)
        .scalar_subquery()
    )
    return select(
        *(status.c[name] for name in ("run", "state", "reason", "since_ms", "stored_ms")),
        last_before_pause.label("last_before_pause_ms"),
        recent_reports.label("recent_reports"),
    ).join_from(changes, status, status.c.id == last_id)


def _latest_begin(camera: str, before_ms: int | ColumnElement[int]) -> Any:
    status = camera_status.alias()
    query = select(func.max(status.c.since_ms)).where(status.c.camera == camera)
    return query.where(status.c.since_ms < before_ms).scalar_subquery()


def _same(one: Any, other: Any) -> ColumnElement[bool]:
    return and_(one.c.camera == other.c.camera, one.c.since_ms == other.c.since_ms)


def _interval(row: Mapping[Any, Any]) -> StateInterval:
    state, reason = from_record(row["state"], row["run"], row["reason"])
    since_ms, last_report_ms = row["since_ms"], row["stored_ms"]
    if state in FINAL_STATES:
        return StateInterval(since_ms, 2**63, state, reason)
    # Statuses from the outbox of a machine that died are stored when it is back, hours later, and
    # must not prove that the state lasted until then. So after a pause the recent reports extend
    # the state by UNKNOWN_AFTER_MS each: a few of them do not bridge hours, a whole backlog does.
    if row["last_before_pause_ms"] is not None:
        proven_ms = row["last_before_pause_ms"] + UNKNOWN_AFTER_MS * row["recent_reports"]
        last_report_ms = min(last_report_ms, proven_ms)
    until_ms = max(last_report_ms, since_ms) + UNKNOWN_AFTER_MS
    return StateInterval(since_ms, until_ms, state, reason)


def _fill(reported: Sequence[StateInterval], since_ms: int, until_ms: int) -> list[StateInterval]:
    """The intervals cut to the window, with `unknown` in between."""
    found: list[StateInterval] = []
    at_ms = since_ms
    for one in reported:
        start, end = max(one.since_ms, at_ms), min(one.until_ms, until_ms)
        if end <= start:
            continue
        if start > at_ms:
            found.append(StateInterval(at_ms, start, UNKNOWN))
        found.append(StateInterval(start, end, one.state, one.reason))
        at_ms = end
    if at_ms < until_ms:
        found.append(StateInterval(at_ms, until_ms, UNKNOWN))
    return found
