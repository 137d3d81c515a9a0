"""Results of benchmarks, saved as benchmarks/results/DATE-NAME.json."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def data_folder() -> Path:
    """The folder of the test data; ends the command where UNDERCAM_DATA is not set."""
    folder = os.environ.get("UNDERCAM_DATA")
    if not folder:
        raise SystemExit("no test data: UNDERCAM_DATA: set it to the folder of clips and faces")
    return Path(folder)


def save_result(name: str, figures: dict[str, Any]) -> dict[str, Any]:
    """Save figures with the date and the machine's architecture; returns all of it."""
    date = datetime.now(UTC).date().isoformat()
    result = {"date": date, "machine": platform.machine(), **figures}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{date}-{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result
