"""The benchmark of the pages, on a small week: its rows hang together, and it says what it saw."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ROWS = 20_000


def benchmark(folder: Path, rows: int = ROWS) -> subprocess.CompletedProcess[str]:
    where = ["--url", f"sqlite:///{folder}/week.db", "--out", str(folder / "results")]
    command = [sys.executable, "-m", "benchmarks.queries", *where, "--rows", str(rows)]
    return subprocess.run(
        [*command, "--rounds", "2", "--json"], cwd=ROOT, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("week")
    done = benchmark(folder)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_every_page_is_timed(week: tuple[Path, dict[str, Any]]) -> None:
    folder, result = week
    (written,) = (folder / "results").iterdir()
    assert json.loads(written.read_text()) == result
    assert result["ok"]
    assert len(result["pages"]) == 9
    for found in result["pages"].values():
        total = sum(figures["median_ms"] for figures in found["queries"].values())
        assert 0 < found["page"]["median_ms"] < 3 * total


def test_made_rows_hang_together(week: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = week
    with sqlite3.connect(folder / "week.db") as connection:

        def ask(sql: str) -> Any:
            return connection.execute(sql).fetchone()[0]

        assert ask("SELECT count(*) FROM observations") == ROWS
        assert ask("SELECT sum(observations) FROM tracks") == ROWS
        assert ask("SELECT sum(n_happiness) FROM emotion_minutes") == ask(
            "SELECT count(*) FROM observations WHERE smoothed_label = 'happiness'"
        )
        assert ask("SELECT sum(n_fear) FROM track_totals") == ask(
            "SELECT count(*) FROM observations WHERE smoothed_label = 'fear'"
        )
        assert ask("SELECT count(DISTINCT camera) FROM runs") == 16
        assert ask("SELECT min(stored_ms - captured_ms) FROM observations") > 0
    connection.close()


def test_another_number_of_rows_is_refused(week: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = week
    refused = benchmark(folder, rows=ROWS + 1)
    assert refused.returncode != 0
    assert f"holds {ROWS} observations, not {ROWS + 1}" in refused.stderr
