"""UDC data sets: every image of a labelled set as an under-display camera would take it.

    OUT/[train|test/]CLASS/NAME.png    `folder:plain:OUT` reads them back
    OUT/manifest.csv                   id, split, label, panel, severity, file of each image

An image's panel, severity and noise are sampled by its id: the set is the same on every machine. An
image holds one face as high as itself. KDEF's splits share no person; the manifest's `random_split`
is one of the same size that ignores persons.
"""

from __future__ import annotations

import csv
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from models.atomic_files import unwritable
from models.udc.suites import ALL_DISPLAYS, degrade, noise_generator
from trainer.data.images import write_image
from trainer.data.layouts import draw_ids
from trainer.data.originals import Original, file_names, list_originals

MANIFEST = "manifest.csv"
PANEL_NAMES = {corruption: name for name, corruption in ALL_DISPLAYS.items()}


def write_set(
    address: str,
    out: Path,
    cells: Sequence[str],
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """Write the set into a new folder, each image under one of `cells`; all of it or nothing.

    Returns the number of images, by split and by cell. Raises DataError, and UndercamError where
    nothing can be written.
    """
    found = list_originals(address)
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.part")
    rows: list[dict[str, str]] = []
    try:
        unfinished.mkdir(parents=True)
        names = file_names(found)
        for original, name in zip(found, names, strict=True):
            rows.append(_write_degraded(original, name, unfinished, cells))
            progress(len(rows), len(found))
        if address.startswith("folder:kdef:"):
            _split_at_random(rows)
        _write_manifest(unfinished / MANIFEST, rows)
        unfinished.rename(out)
    except OSError as error:
        raise unwritable(out, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return {
        "images": len(rows),
        "splits": dict(Counter(row["split"] for row in rows)),
        "panels": dict(sorted(Counter(f"{r['panel']}/{r['severity']}" for r in rows).items())),
    }


def _write_degraded(
    original: Original, name: str, out: Path, cells: Sequence[str]
) -> dict[str, str]:
    """Write one image; returns its row of the manifest."""
    cell = cells[int(noise_generator(original.noise, original.id, "panel").integers(len(cells)))]
    degraded = degrade(original.pixels()[None], [original.id], original.noise, cell)[0]
    file = Path(original.split, original.label, f"{name}.png")
    (out / file).parent.mkdir(parents=True, exist_ok=True)
    write_image(out / file, degraded)
    corruption, _, severity = cell.partition("/")
    return {
        "id": original.id,
        "split": original.split,
        "label": original.label,
        "panel": PANEL_NAMES[corruption],
        "severity": severity,
        "file": file.as_posix(),
    }


def _split_at_random(rows: list[dict[str, str]]) -> None:
    """Add `random_split`: as many test images as the other split has, sampled by their ids."""
    tested = draw_ids((row["id"] for row in rows), sum(row["split"] == "test" for row in rows))
    for row in rows:
        row["random_split"] = "test" if row["id"] in tested else "train"


def _write_manifest(path: Path, rows: Sequence[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
