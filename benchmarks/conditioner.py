"""Faces found through a display, with and without conditioning: python -m benchmarks.conditioner

Pictures: the photographs inside installed packages and single frames of the clips under
$UNDERCAM_DATA/media. A face is one that at least two of three detectors find in the clean picture;
recall counts those with a box of IoU >= 0.3, a false box is one beside every face.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.kept import data_folder, keep

if TYPE_CHECKING:
    from models.detectors.base import FaceDetector
    from models.faces import Faces

Picture = NDArray[np.uint8]
LEAST_IOU = 0.3
FRAMES = {
    "pyfeat_WolfgangLanger_Pexels.mp4": (1.0, 7.0, 13.0, 18.0),
    "pyfeat_single_face.mp4": (1.0,),
    "pyfeat_face_noface.mov": (0.5, 2.0),
    "intel_face-demographics-walking-and-pause.gif": (0.5, 1.0, 2.0, 3.0),
    "pyfeat_no_face.mp4": (1.0, 3.0),
}
CELLS = ["clean"] + [f"{k}/{n}" for k in ("udc_t", "udc_p", "udc_dark") for n in range(1, 6)]
WAYS = ("never", "auto", "always")


def pictures() -> Iterator[tuple[str, Picture]]:
    """Name and (h, w, 3) uint8 RGB of every picture."""
    import skimage.data
    from insightface.data import get_image

    yield "t1", np.ascontiguousarray(get_image("t1")[..., ::-1])
    yield "astronaut", skimage.data.astronaut()
    folder = data_folder() / "media"
    for name, times in FRAMES.items():
        for at_s in times:
            yield f"{name}@{at_s}", frame_at(folder / name, at_s)


def frame_at(path: Path, at_s: float) -> Picture:
    """The first frame of a clip at or after a media time."""
    import av

    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if frame.time is not None and frame.time >= at_s:
                return frame.to_ndarray(format="rgb24")
    raise SystemExit(f"conditioner: {path} ends before {at_s} s")


def detectors(models: Path) -> dict[str, FaceDetector]:
    """Every detector, at its default settings, on one thread."""
    from models.detectors.opening import open_detector

    folders = (models,)
    return {
        name: open_detector(name, threads=1, folders=folders)
        for name in ("centerface", "scrfd", "yunet")
    }


def agreed(found: list[Faces]) -> NDArray[np.float32]:
    """Boxes (n, 4) of the faces that at least two of the detectors found."""
    from models.faces import iou

    kept: list[NDArray[np.float32]] = []
    for number, faces in enumerate(found):
        others = found[:number] + found[number + 1 :]
        for box in faces.boxes:
            seen = any((iou(box[None], other.boxes) >= LEAST_IOU).any() for other in others)
            known = kept and (iou(box[None], np.stack(kept)) >= LEAST_IOU).any()
            if seen and not known:
                kept.append(box)
    return np.stack(kept) if kept else np.zeros((0, 4), np.float32)


def seen_through(picture: Picture, truth: NDArray[np.float32], cell: str, number: int) -> Picture:
    """The picture behind the display of a cell, drawn for the middle size of its faces."""
    from models.udc.panel import FACE_PX, apply_panel
    from models.udc.suites import find_panel

    if cell == "clean":
        return picture
    face_px = float(np.median(truth[:, 3] - truth[:, 1])) if len(truth) else 120.0
    panel = find_panel(cell).at(face_px / FACE_PX)
    return apply_panel(picture[None], panel, np.random.default_rng(number))[0]


def measured(models: Path) -> dict[str, Any]:
    """{"detector, way": {cell: [found, false]}}, and how many faces there are."""
    from models.detectors.conditioner import ConditioningDetector
    from models.faces import iou

    every = detectors(models)
    table: dict[str, dict[str, list[int]]] = {}
    total = 0
    for number, (_, picture) in enumerate(pictures()):
        truth = agreed([detector.detect(picture) for detector in every.values()])
        total += len(truth)
        for cell in CELLS:
            frame = seen_through(picture, truth, cell, number)
            for name, detector in every.items():
                for way in WAYS:
                    boxes = ConditioningDetector(detector, way).detect(frame).boxes
                    overlap = iou(truth, boxes) >= LEAST_IOU
                    counts = table.setdefault(f"{name}, {way}", {}).setdefault(cell, [0, 0])
                    counts[0] += int(overlap.any(axis=1).sum())
                    counts[1] += int((~overlap.any(axis=0)).sum())
    return {"faces": total, "found_and_false": table}


def main() -> None:
    """Measure, print a table, and write it as JSON beside the other results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, help="default: $UNDERCAM_DATA/models")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    given = parser.parse_args()
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    result = keep("conditioner", measured(given.models or data_folder() / "models"))
    if given.json:
        print(json.dumps(result))
        return
    print(f"{result['faces']} faces; found (false boxes)")
    print(f"{'':22}" + "".join(f"{cell.removeprefix('udc_'):>9}" for cell in CELLS))
    for way, row in result["found_and_false"].items():
        print(f"{way:22}" + "".join(f"{f'{row[c][0]} ({row[c][1]})':>9}" for c in CELLS))


if __name__ == "__main__":
    main()
