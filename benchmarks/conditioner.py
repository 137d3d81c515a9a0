"""Face detection under displays, with and without conditioning: python -m benchmarks.conditioner

Images: the photographs inside installed packages and single frames of the clips under
$UNDERCAM_DATA/media. The true faces are those that at least two of three detectors find in the
clean image; a face is found by a box of IoU >= 0.3, a false box is one that overlaps no face.
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

from benchmarks.results import data_folder, save_result

if TYPE_CHECKING:
    from models.detectors.base import FaceDetector
    from models.faces import Faces

Image = NDArray[np.uint8]
LEAST_IOU = 0.3
FRAMES = {
    "pyfeat_WolfgangLanger_Pexels.mp4": (1.0, 7.0, 13.0, 18.0),
    "pyfeat_single_face.mp4": (1.0,),
    "pyfeat_face_noface.mov": (0.5, 2.0),
    "intel_face-demographics-walking-and-pause.gif": (0.5, 1.0, 2.0, 3.0),
    "pyfeat_no_face.mp4": (1.0, 3.0),
}
CELLS = ["clean"] + [f"{k}/{n}" for k in ("udc_t", "udc_p", "udc_dark") for n in range(1, 6)]
CONDITIONING = ("never", "auto", "always")


def load_images() -> Iterator[tuple[str, Image]]:
    """Name and (h, w, 3) uint8 RGB of every image."""
    import skimage.data
    from insightface.data import get_image

    yield "t1", np.ascontiguousarray(get_image("t1")[..., ::-1])
    yield "astronaut", skimage.data.astronaut()
    folder = data_folder() / "media"
    for name, times in FRAMES.items():
        for at_s in times:
            yield f"{name}@{at_s}", read_frame(folder / name, at_s)


def read_frame(path: Path, at_s: float) -> Image:
    """The first frame of a clip at or after a media time."""
    import av

    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if frame.time is not None and frame.time >= at_s:
                return frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    raise SystemExit(f"conditioner: {path} ends before {at_s} s")


def open_detectors(models: Path) -> dict[str, FaceDetector]:
    """Every detector, at its default settings, on one thread."""
    from models.detectors.opening import open_detector

    folders = (models,)
    return {
        name: open_detector(name, threads=1, folders=folders)
        for name in ("centerface", "scrfd", "yunet")
    }


def find_true_faces(found: list[Faces]) -> NDArray[np.float32]:
    """Boxes (n, 4) of the faces that at least two of the detectors found."""
    from models.faces import iou

    kept: list[NDArray[np.float32]] = []
    for number, faces in enumerate(found):
        others = found[:number] + found[number + 1 :]
        for box in faces.boxes:
            is_confirmed = any((iou(box[None], other.boxes) >= LEAST_IOU).any() for other in others)
            is_known = kept and (iou(box[None], np.stack(kept)) >= LEAST_IOU).any()
            if is_confirmed and not is_known:
                kept.append(box)
    return np.stack(kept) if kept else np.zeros((0, 4), np.float32)


def simulate_display(image: Image, truth: NDArray[np.float32], cell: str, number: int) -> Image:
    """The image under the display of a cell, scaled to the median size of its faces."""
    from models.udc.panel import FACE_PX, apply_panel
    from models.udc.suites import find_panel

    if cell == "clean":
        return image
    face_px = float(np.median(truth[:, 3] - truth[:, 1])) if len(truth) else 120.0
    panel = find_panel(cell).at(face_px / FACE_PX)
    return apply_panel(image[None], panel, np.random.default_rng(number))[0]


def measure(models: Path) -> dict[str, Any]:
    """{"detector, conditioning": {cell: [found, false]}}, and the number of faces."""
    from models.detectors.conditioner import ConditioningDetector
    from models.faces import iou

    every = open_detectors(models)
    table: dict[str, dict[str, list[int]]] = {}
    total = 0
    for number, (_, image) in enumerate(load_images()):
        truth = find_true_faces([detector.detect(image) for detector in every.values()])
        total += len(truth)
        for cell in CELLS:
            frame = simulate_display(image, truth, cell, number)
            for name, detector in every.items():
                for conditioning in CONDITIONING:
                    boxes = ConditioningDetector(detector, conditioning).detect(frame).boxes
                    overlap = iou(truth, boxes) >= LEAST_IOU
                    counts = table.setdefault(f"{name}, {conditioning}", {}).setdefault(
                        cell, [0, 0]
                    )
                    counts[0] += int(overlap.any(axis=1).sum())
                    counts[1] += int((~overlap.any(axis=0)).sum())
    return {"faces": total, "found_and_false": table}


def main() -> None:
    """Measure, print a table, and save the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, help="default: $UNDERCAM_DATA/models")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    given = parser.parse_args()
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    result = save_result("conditioner", measure(given.models or data_folder() / "models"))
    if given.json:
        print(json.dumps(result))
        return
    print(f"{result['faces']} faces; found (false boxes)")
    print(f"{'':22}" + "".join(f"{cell.removeprefix('udc_'):>9}" for cell in CELLS))
    for setting, row in result["found_and_false"].items():
        print(f"{setting:22}" + "".join(f"{f'{row[c][0]} ({row[c][1]})':>9}" for c in CELLS))


if __name__ == "__main__":
    main()
