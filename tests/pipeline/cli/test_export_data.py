"""`undercam export-data`: the rows of the store as files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.app import run
from pipeline.clock import wall_clock
from pipeline.records import FaceObserved, Probabilities, Quality, Smoothed
from pipeline.store.engine import open_store
from pipeline.store.writer import StoreWriter


def face(camera: str, frame: int, captured_ms: int) -> FaceObserved:
    return FaceObserved(
        id=FaceObserved.make_id(camera, "e1", 1, frame),
        camera=camera,
        run="e1",
        track=1,
        frame=frame,
        pts_ms=captured_ms,
        captured_ms=captured_ms,
        clock="arrival",
        received_ms=captured_ms,
        classified_ms=captured_ms,
        published_ms=captured_ms,
        box=(0.1, 0.2, 0.3, 0.4),
        detector_score=0.9,
        probabilities=Probabilities.of([0.125] * 8),
        label="fear",
        confidence=0.5,
        smoothed=Smoothed(label="fear", confidence=0.5),
        uncertainty=0.2,
        answered=True,
        quality=Quality(blur=0.1, luma=0.5, size_px=90),
        model="resnet18-w32",
        mode="fast",
    )


@pytest.fixture
def store(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/undercam.db"
    engine, now = open_store(url), wall_clock()
    StoreWriter(engine).write([face("door", n, now - 1_000 * n) for n in range(1, 6)])
    StoreWriter(engine).write([face("hall", n, now - 86_400_000 * n - 9) for n in range(1, 4)])
    engine.dispose()
    return url


def reported(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ([], 5),
        (["--from", "10d"], 8),
        (["--from", "10d", "--camera", "hall"], 3),
        (["--from", "10d", "--to", "36h"], 2),
        (["--from", "10d", "--tracks"], 2),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows(
    store: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    rows: int,
    suffix: str,
) -> None:
    out = tmp_path / f"out.{suffix}"
    assert run(["export-data", str(out), "--store", store, "--json", *options]) == 0
    assert reported(capsys)["rows"] == rows
    if suffix == "csv":
        with out.open(newline="", encoding="utf-8") as file:
            assert len(list(csv.DictReader(file))) == rows
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        assert parquet.read_table(out).num_rows == rows


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["out.xls"], 2, "give a file that ends in .csv or .parquet"),
        (["out.csv", "--from", "soon"], 2, "not a time: --from soon"),
        (["-", "--json"], 2, "stdout cannot be both"),
        (["no/such/folder/out.csv"], 1, "cannot be written"),
    ],
)
def test_refused(
    store: str, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, sentence: str
) -> None:
    assert run(["export-data", *arguments, "--store", store]) == code
    assert sentence in capsys.readouterr().err


def test_no_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = f"sqlite:///{tmp_path}/none.db"
    assert run(["export-data", str(tmp_path / "out.csv"), "--store", where]) == 4
    assert not (tmp_path / "none.db").exists()
