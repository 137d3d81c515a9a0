"""Time of each dashboard page's queries, over millions of stored observations.

    python -m benchmarks.queries --rows 5000000 --url sqlite:////tmp/week.db --json

Fills an empty database with a synthetic week (see `rows.py`), or takes one that it filled before,
and repeats the queries of each page. The first round is cold: new connections, and for SQLite a
file evicted from the page cache. The other figures are of the warm rounds after it.
Writes the figures to benchmarks/results/ with the date.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Engine, func, select, text

from benchmarks.rows import CAMERAS, fill
from pipeline.clock import wall_clock
from pipeline.errors import ConfigError
from pipeline.store import queries as store_queries
from pipeline.store.engine import open_store
from pipeline.store.schema import observations, tracks

RESULTS = Path(__file__).parent / "results"
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY
ALLOWED_MS = 300
Queries = dict[str, Callable[[Engine], Any]]


def pages(now: int, long: store_queries.Track) -> dict[str, Queries]:
    """The queries of each page, with the longest time range that a viewer can select."""
    camera = long.camera
    return {
        "overview": {
            "camera_overview 1 h": lambda e: store_queries.camera_overview(
                e, now - HOUR, now, 5_000
            ),
            "expression_shares 10 min": lambda e: store_queries.expression_shares(
                e, now - 10 * MINUTE, now
            ),
            "count_stored 1 min": lambda e: store_queries.count_stored(e, now - MINUTE, now),
            "latency 1 min": lambda e: store_queries.latency(e, now - MINUTE, now),
            "modes_in_use 10 min": lambda e: store_queries.modes_in_use(e, now - 10 * MINUTE, now),
            f"outages 1 h, {CAMERAS} cameras": lambda e: outages(e, now - HOUR, now),
        },
        "expressions, 10 min": expressions(camera, now, 10 * MINUTE),
        "expressions, 24 h": expressions(camera, now, DAY),
        "expressions, 7 days": expressions(camera, now, WEEK),
        **tracks_pages(now, long),
        "health": {
            "camera_overview 1 h": lambda e: store_queries.camera_overview(e, now - HOUR, now),
            "latency 1 min": lambda e: store_queries.latency(e, now - MINUTE, now),
            "latency 10 min": lambda e: store_queries.latency(e, now - 10 * MINUTE, now),
            f"outages 2 h, {CAMERAS} cameras": lambda e: outages(e, now - 2 * HOUR, now),
            "loss_totals 7 days": lambda e: store_queries.loss_totals(e, now - WEEK, now),
            "recent_dead_letters": store_queries.recent_dead_letters,
            "rows_per_minute 2 h": lambda e: store_queries.rows_per_minute(e, now - 2 * HOUR, now),
            "recent_gaps 24 h": lambda e: store_queries.recent_gaps(e, now - DAY, now),
            "dead_letter_count": store_queries.dead_letter_count,
            "database_bytes": store_queries.database_bytes,
        },
        "compare, 7 days": compare(camera, now),
    }


def outages(engine: Engine, since: int, until: int) -> None:
    """The times without data of every camera."""
    for number in range(CAMERAS):
        store_queries.camera_states(engine, f"cam-{number}", since, until)
        store_queries.recent_gaps(engine, since, until, 500, f"cam-{number}")


def tracks_pages(now: int, long: store_queries.Track) -> dict[str, Queries]:
    """The Tracks page with and without filters, in the slowest order, with a long track."""
    wanted = {
        "": store_queries.TrackFilter(),
        ", negative > 30 s": store_queries.TrackFilter(negative_ms=30_000),
        ", blurred and robust": store_queries.TrackFilter(quality="blurred", mode="robust"),
    }
    return {f"tracks, 7 days{name}": search(now, long, one) for name, one in wanted.items()}


def search(now: int, long: store_queries.Track, wanted: store_queries.TrackFilter) -> Queries:
    """One page of the list, and the details of a track."""
    sort: Any = "last" if wanted == store_queries.TrackFilter() else "negative"
    return {
        "camera_overview": lambda e: store_queries.camera_overview(e, now, now),
        "list_modes": store_queries.list_modes,
        "find_tracks": lambda e: store_queries.find_tracks(
            e, now - WEEK, now, wanted, sort=sort, limit=25
        ),
        "find_track": lambda e: store_queries.find_track(e, long.id),
        "find_totals": lambda e: store_queries.find_totals(e, long.id),
        f"track_observations of {long.observations}": lambda e: store_queries.track_observations(
            e, long
        ),
        f"track_shares of {long.observations}": lambda e: store_queries.track_shares(e, long),
        "list_runs": lambda e: store_queries.list_runs(e, long.camera),
    }


def compare(camera: str, now: int) -> Queries:
    """The Compare page: all cameras over a week, two days, and the hours of four weeks."""

    def read(e: Engine, camera: str, since: int, until: int, bucket_ms: int) -> None:
        store_queries.expression_timeline(e, camera, since, until, bucket_ms=bucket_ms)

    def read_all(e: Engine) -> None:
        names = [f"cam-{number}" for number in range(CAMERAS)]
        store_queries.expression_timelines(e, names, now - WEEK, now, 2 * HOUR, with_means=False)

    return {
        f"expression_timeline, {CAMERAS} cameras": read_all,
        "expression_timeline, day": lambda e: read(e, camera, now - DAY, now, HOUR),
        "expression_timeline, day before": lambda e: read(
            e, camera, now - 2 * DAY, now - DAY, HOUR
        ),
        "expression_timeline, 4 weeks": lambda e: read(e, camera, now - 4 * WEEK, now, HOUR),
    }


def expressions(camera: str, now: int, window: int) -> Queries:
    """The Expressions page of one camera; the shares are of all cameras."""
    return {
        "camera_overview 1 h": lambda e: store_queries.camera_overview(e, now - HOUR, now),
        "expression_timeline": lambda e: store_queries.expression_timeline(
            e, camera, now - window, now, 120
        ),
        "camera_states": lambda e: store_queries.camera_states(e, camera, now - window, now),
        "expression_shares": lambda e: store_queries.expression_shares(e, now - window, now),
    }


def measure(url: str, rounds: int, now: int, long: store_queries.Track) -> dict[str, Any]:
    """Milliseconds of each query and of each page."""
    return {
        name: measure_page(url, statements, rounds) for name, statements in pages(now, long).items()
    }


def measure_page(url: str, queries: Queries, rounds: int) -> dict[str, Any]:
    """First, median and maximum of each query, and of the page as a whole."""
    engine = open_store(url, read_only=True)
    make_cold(engine)
    taken = [
        {name: time_query(q, engine) for name, q in queries.items()} for _ in range(rounds + 1)
    ]
    engine.dispose()
    each = {name: summarise([one[name] for one in taken]) for name in queries}
    return {"page": summarise([sum(one.values()) for one in taken]), "queries": each}


def time_query(query: Callable[[Engine], Any], engine: Engine) -> float:
    """Milliseconds of one query."""
    started = time.perf_counter()
    query(engine)
    return (time.perf_counter() - started) * 1000


def summarise(milliseconds: list[float]) -> dict[str, float]:
    """The first round apart from the rest."""
    first, *rest = milliseconds
    figures = {
        "first_ms": first,
        "least_ms": min(rest),
        "median_ms": statistics.median(rest),
        "max_ms": max(rest),
    }
    return {name: round(value, 1) for name, value in figures.items()}


def make_cold(engine: Engine) -> None:
    """Close connections; for SQLite evict the file from the page cache."""
    engine.dispose()
    if engine.dialect.name == "sqlite":
        with open(engine.url.database or "", "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def prepare(url: str, rows: int) -> dict[str, Any]:
    """Fill the database if it is empty; its product, number of rows, size and longest track."""
    engine = open_store(url)
    with engine.connect() as connection:
        found = connection.execute(select(func.count()).select_from(observations)).scalar_one()
    if found not in (0, rows):
        raise ConfigError(
            f"holds {found} observations, not {rows}", "--url", "give an empty database"
        )
    if not found:
        fill(engine, rows, wall_clock())
    dialect = engine.dialect.name
    statements = "SELECT sqlite_version()" if dialect == "sqlite" else "SHOW server_version"
    with engine.connect() as connection:
        version = connection.execute(text(statements)).scalar_one().split()[0]
        about = {
            "database": f"{dialect} {version}",
            "rows": rows,
            "bytes": store_queries.database_bytes(engine),
            "now_ms": connection.execute(select(func.max(tracks.c.ended_ms))).scalar_one() + 1,
            "long": connection.execute(
                select(tracks.c.id).order_by(tracks.c.observations.desc()).limit(1)
            ).scalar_one(),
        }
    engine.dispose()
    return about


def run(url: str, rows: int, rounds: int, note: str) -> dict[str, Any]:
    """All figures, with the machine and versions they were measured on."""
    about = prepare(url, rows)
    engine = open_store(url, read_only=True)
    long = store_queries.find_track(engine, about.pop("long"))
    engine.dispose()
    assert long is not None
    load = os.getloadavg()[0]
    found = measure(url, rounds, about.pop("now_ms"), long)
    return {
        "command": f"python -m benchmarks.queries --url URL --rows {rows} --rounds {rounds}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "sqlalchemy": sqlalchemy.__version__,
        "cpus": os.cpu_count(),
        "load_average": round(load, 1),
        "note": note,
        "cameras": CAMERAS,
        **about,
        "allowed_ms": ALLOWED_MS,
        "ok": all(one["page"]["median_ms"] < ALLOWED_MS for one in found.values()),
        "pages": found,
    }


def table(result: dict[str, Any]) -> str:
    """The figures as a text table."""
    lines = [
        f"{result['database']}: {result['rows']:,} observations, {result['bytes'] / 1e9:.2f} GB",
        f"{'milliseconds':38}{'first':>9}{'least':>9}{'median':>9}{'max':>9}",
    ]
    for name, found in result["pages"].items():
        lines.append(row(f"{name}: page", found["page"]))
        lines += [row(f"    {query}", figures) for query, figures in found["queries"].items()]
    return "\n".join(lines)


def row(name: str, figures: dict[str, float]) -> str:
    """One line of the table."""
    return f"{name:38}" + "".join(f"{value:9.1f}" for value in figures.values())


def main() -> int:
    """Exit code 1 when a page's median exceeds ALLOWED_MS."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--url", required=True, help="an empty database, or one filled by this")
    parser.add_argument("--rows", type=int, default=5_000_000, help="number of observations")
    parser.add_argument("--rounds", type=int, default=15, help="warm rounds per page")
    parser.add_argument("--note", default="", help="what else was running on the machine")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    result = run(options.url, options.rows, options.rounds, options.note)
    options.out.mkdir(parents=True, exist_ok=True)
    name = f"{result['date'][:10]}-queries-{result['database'].split()[0]}.json"
    (options.out / name).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result) if options.json else table(result))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
