"""What gathered looks buy on a moving face: python -m benchmarks.moving [CLIP] [--weights W]

A clip is played as `undercam analyze --panel` plays it, with single looks (`crop.fuse_s` 0) and
with looks gathered along the track. What is said of every look is held against what is said of
the same clip without a display.

    seen        share of the clear picture's looks that have one on the same place
    same_label  share of those that are called the same
    distance    mean total variation between the two probabilities, 0 the same .. 1
    unrest      share of neighbouring looks of a track that differ in label
    late_s      seconds by which what is said lies behind the clear picture, at the best agreement
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.kept import data_folder, keep
from models.emotions import EMOTIONS
from pipeline.config import load
from pipeline.emotion_settings import WEIGHTS
from pipeline.records import Event, FaceObserved

CLIP = "media/pyfeat_WolfgangLanger_Pexels.mp4"
FUSE_S = (0.0, 1.0)
LEAST_IOU = 0.3
MOST_LATE = 12


@dataclass(frozen=True)
class Said:
    """Of n looks of one clip: `frames` (n,), `boxes` (n, 4) shares, `tracks` (n,), `probabilities`
    (n, 8)."""

    frames: NDArray[np.int64]
    boxes: NDArray[np.float32]
    tracks: NDArray[np.int64]
    probabilities: NDArray[np.float32]


def play(clip: str, weights: str, fps: float, fuse_s: float, panel: str, severity: int) -> Said:
    """What is said of every look at every face of the clip."""
    from pipeline.camera_config import CameraConfig
    from pipeline.live.stage_runner import run_camera
    from pipeline.media.display_simulation import open_display
    from pipeline.stages.classify import open_classify
    from pipeline.stages.detect import open_detect
    from pipeline.stages.source.file import VideoSource

    settings = load(
        source={"analyse_fps": fps},
        crop={"fuse_s": fuse_s},
        emotion={"routes": {"fast": {"weights": weights}}},
    )
    looks: list[FaceObserved] = []

    def sink(records: Sequence[Event]) -> None:
        looks.extend(record for record in records if isinstance(record, FaceObserved))

    display = open_display(panel, severity) if panel else None
    with VideoSource(clip, "moving", "e0") as source:
        detect, classify = open_detect(settings.detector), open_classify(settings.emotion)
        see = display.frame if display else None
        run_camera(source, detect, classify, CameraConfig(settings), sink, display=see)
    return Said(
        np.array([look.frame for look in looks], np.int64),
        np.array([look.box for look in looks], np.float32).reshape(-1, 4),
        np.array([look.track for look in looks], np.int64),
        np.array(
            [[getattr(look.probabilities, name) for name in EMOTIONS] for look in looks], np.float32
        ).reshape(-1, len(EMOTIONS)),
    )


def compared(clear: Said, bad: Said, fps: float) -> dict[str, float]:
    """The figures that the module's head explains."""
    ours, theirs = _pairs(clear, bad)
    p, q = clear.probabilities[ours], bad.probabilities[theirs]
    labels = bad.probabilities.argmax(axis=1)
    order = np.lexsort((bad.frames, bad.tracks))
    neighbours = bad.tracks[order][1:] == bad.tracks[order][:-1]
    changes = labels[order][1:] != labels[order][:-1]
    return {
        "seen": round(len(ours) / len(clear.frames), 4),
        "same_label": round(float((p.argmax(axis=1) == q.argmax(axis=1)).mean()), 4),
        "distance": round(float(np.abs(p - q).sum(axis=1).mean() / 2), 4),
        "unrest": round(float(changes[neighbours].mean()), 4),
        "late_s": round(_late(p, q) / fps, 2),
    }


def _pairs(clear: Said, bad: Said) -> tuple[list[int], list[int]]:
    """Rows of looks at the same place of the same frame."""
    from models.faces import iou

    pairs = []
    for row, (frame, box) in enumerate(zip(clear.frames, clear.boxes, strict=True)):
        there = np.nonzero(bad.frames == frame)[0]
        overlap = iou(box[None], bad.boxes[there])[0]
        if len(there) and overlap.max() >= LEAST_IOU:
            pairs.append((row, int(there[overlap.argmax()])))
    return [one for one, _ in pairs], [other for _, other in pairs]


def _late(p: NDArray[np.float32], q: NDArray[np.float32]) -> int:
    """Looks by which q is to be moved forward to lie nearest to p."""
    gap = [
        np.abs(p[: len(p) - by] - q[by:]).sum(axis=1).mean() for by in range(min(MOST_LATE, len(p)))
    ]
    return int(np.argmin(gap))


def main() -> None:
    """Measure, print a table, and write it as JSON beside the other results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", nargs="?", default="")
    parser.add_argument("--weights", default=WEIGHTS[0])
    parser.add_argument("--panels", default="t-oled,p-oled")
    parser.add_argument("--severities", default="3,5")
    parser.add_argument("--fps", type=float, default=12.0)
    given = parser.parse_args()
    clip = given.clip or str(data_folder() / CLIP)
    asked = (clip, given.weights, given.fps)
    clear = play(*asked, 0.0, "", 1)
    print(f"{Path(clip).name}, {len(clear.frames)} looks, {given.fps:g} a second")
    table: dict[str, Any] = {}
    for panel in given.panels.split(","):
        for severity in map(int, given.severities.split(",")):
            for fuse_s in FUSE_S:
                bad = play(*asked, fuse_s, panel, severity)
                row = compared(clear, bad, given.fps)
                table[f"{panel}/{severity}, {fuse_s:g} s"] = row
                told = ", ".join(f"{name} {value}" for name, value in row.items())
                print(f"{panel}/{severity}, {fuse_s:g} s  {told}", flush=True)
    about = {"clip": Path(clip).name, "weights": given.weights, "fps": given.fps}
    keep(f"moving-{Path(given.weights).stem}", about | {"figures": table})


if __name__ == "__main__":
    main()
