"""`undercam export-data`: observations or tracks as CSV or Parquet."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from typer import Argument, Option

from pipeline.cli.options import AsJson, Config
from pipeline.cli.output import ERRORS, drop_unset, print_json
from pipeline.cli.times import parse_time
from pipeline.clock import wall_clock
from pipeline.config import load, resolve
from pipeline.errors import ConfigError, UndercamError

FORMATS = ("csv", "parquet")


def export_data(
    out: Annotated[Path, Argument(help="A .csv or .parquet file to write; -: CSV on stdout.")],
    tracks: Annotated[
        bool, Option("--tracks", help="One row per track, instead of one per observation.")
    ] = False,
    camera: Annotated[str, Option(help="Of one camera; default: of all.")] = "",
    since: Annotated[
        str, Option("--from", help="From a time on, in ISO 8601 and UTC, or an age: 1d, 12h.")
    ] = "1d",
    until: Annotated[str, Option("--to", help="Up to a time or an age; default: now.")] = "",
    store: Annotated[str, Option(help="SQLAlchemy URL of the database, or a reference.")] = "",
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Write stored observations or tracks into a file for other programs.

    The same rows, columns and order as the dashboard's API gives. Nothing is deleted.
    """
    from pipeline.store.engine import open_store
    from pipeline.store.export import Rows, list_columns, read_pages, to_csv, write_parquet

    kind: Literal["observations", "tracks"] = "tracks" if tracks else "observations"
    is_stdout = str(out) == "-"
    suffix = "csv" if is_stdout else out.suffix.removeprefix(".").lower()
    if suffix not in FORMATS:
        raise ConfigError("no such format", str(out), "give a file that ends in .csv or .parquet")
    if is_stdout and as_json:
        raise ConfigError("stdout cannot be both", "--json", "write into a file")
    now = wall_clock()
    first = parse_time(since, now, "--from")
    last = parse_time(until, now, "--to") if until else now
    settings = load(config, **drop_unset({"store": {"url": store}}))
    url = resolve(settings.store.url)
    engine = open_store(url, settings.store.busy_timeout_s, read_only=True)
    columns, rows = list_columns(kind), 0

    def count(pages: Iterator[Rows]) -> Iterator[Rows]:
        nonlocal rows
        for page in pages:
            rows += len(page)
            yield page

    try:
        pages = count(read_pages(engine, kind, first, last, camera or None))
        with _open_file(out, is_stdout) as file:
            if suffix == "parquet":
                write_parquet(columns, pages, file)
            else:
                file.writelines(to_csv(columns, pages))
    finally:
        engine.dispose()
    if as_json:
        print_json({"out": str(out), "kind": kind, "rows": rows, "from_ms": first, "to_ms": last})
    else:
        ERRORS.print(f"wrote {rows:,} {kind} to {'stdout' if is_stdout else out}")


@contextmanager
def _open_file(out: Path, is_stdout: bool) -> Iterator[BinaryIO]:
    if is_stdout:
        yield sys.stdout.buffer
        return
    try:
        with out.open("wb") as file:
            yield file
    except OSError as error:
        remedy = f"give another file ({error.strerror})"
        raise UndercamError("cannot be written", str(out), remedy) from error
