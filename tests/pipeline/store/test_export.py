"""Rows for other programs: nothing missing, nothing twice, in order, and as they were stored."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from pipeline.records import FaceObserved
from pipeline.store import export
from pipeline.store.export import list_columns, read_pages, to_csv, write_parquet
from pipeline.store.queries.observation_rows import START, list_observations, observations_stored
from pipeline.store.writer import StoreWriter

T0 = 1_700_000_000_000


@pytest.fixture
def faces(make: Any) -> list[FaceObserved]:
    """Several at one moment, in two cameras; one reason is a formula."""
    rng = np.random.default_rng(3)
    return [
        make.observation(
            n,
            T0 + int(rng.integers(0, 40)),
            camera=("door", "hall")[n % 2],
            track=n % 5 + 1,
            reason="=1+1" if n == 8 else "",
        )
        for n in range(200)
    ]


@pytest.mark.parametrize("limit", [1, 7, 1_000])
def test_pages_of_observations_are_whole(
    engine: Engine, faces: list[FaceObserved], limit: int
) -> None:
    StoreWriter(engine).write(faces)
    found, after = [], START
    while page := list_observations(engine, "door", T0 + 5, T0 + 30, after, limit):
        found += page
        after = page[-1]["captured_ms"], page[-1]["id"]
    inside = [f for f in faces if f.camera == "door" and T0 + 5 <= f.captured_ms < T0 + 30]
    assert [row["id"] for row in found] == [
        f.id for f in sorted(inside, key=lambda f: (f.captured_ms, f.id))
    ]


def test_a_stream_of_what_is_stored(engine: Engine, faces: list[FaceObserved]) -> None:
    for n in range(0, len(faces), 20):
        StoreWriter(engine, clock=lambda n=n: T0 + n).write(faces[n : n + 20])
    after, found = (T0 + 40, ""), []
    while page := observations_stored(engine, after, limit=4):
        found += [row["id"] for _, row in page]
        after = page[-1][0]
    assert sorted(found) == sorted(face.id for face in faces[40:])
    hall = observations_stored(engine, (T0, ""), 500, "hall")
    assert {row["camera"] for _, row in hall} == {"hall"}


def test_csv(engine: Engine, faces: list[FaceObserved], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PAGE_ROWS", 30)
    StoreWriter(engine).write(faces)
    columns = list_columns("observations")
    text = b"".join(to_csv(columns, read_pages(engine, "observations", T0, T0 + 40))).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["id"] for row in rows} == {face.id for face in faces}
    assert len(rows) == len(faces)
    assert [row["reason"] for row in rows if row["reason"]] == ["'=1+1"]
    one = next(row for row in rows if row["id"] == faces[0].id)
    assert float(one["p_happiness"]) == faces[0].probabilities.happiness
    assert int(one["captured_ms"]) == faces[0].captured_ms


@pytest.mark.parametrize("kind", ["observations", "tracks"])
def test_parquet_has_the_same_rows_as_csv(
    engine: Engine, faces: list[FaceObserved], kind: Any, tmp_path: Any
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    StoreWriter(engine).write(faces)
    columns = list_columns(kind)
    with (tmp_path / "out.parquet").open("wb") as file:
        write_parquet(columns, read_pages(engine, kind, T0, T0 + 40, "door"), file)
    table = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    pages = read_pages(engine, kind, T0, T0 + 40, "door")
    assert [list(row.values()) for row in table] == [row for page in pages for row in page]
    assert table


def test_nothing_to_export(engine: Engine) -> None:
    assert b"".join(to_csv(("a", "b"), read_pages(engine, "tracks", 0, 1))) == b"a,b\r\n"
