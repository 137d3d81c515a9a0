"""Multi-frame averaging on a moving face: python -m benchmarks.moving_face [CLIP] [--weights W]

A clip is played as `undercam analyze --panel` plays it, with single frames (`crop.fuse_s` 0) and
with frames averaged along the track. Every observation is compared with that of the same clip
without a display.

    seen        share of the clean clip's observations that have one at the same place
    same_label  share of those with the same predicted class
    distance    their mean total variation distance of probabilities, 0 equal .. 1
    unrest      share of consecutive observations of a track that differ in predicted class
    late_s      delay in seconds behind the clean clip at which the predictions agree best
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import data_folder, save_result
from models.emotions import EMOTIONS
from pipeline.config import load
from pipeline.emotion_settings import RouteSettings
from pipeline.records import Event, FaceObserved

CLIP = "media/pyfeat_WolfgangLanger_Pexels.mp4"
FUSE_S = (0.0, 1.0)
LEAST_IOU = 0.3
MAX_DELAY = 12
"""Observations by which predictions are shifted at most to find their delay."""


@dataclass(frozen=True)
class Observations:
    """The n observations of one clip: `frames` (n,), `boxes` (n, 4) in shares of the frame,
    `tracks` (n,), `probabilities` (n, 8)."""

    frames: NDArray[np.int64]
    boxes: NDArray[np.float32]
    tracks: NDArray[np.int64]
    probabilities: NDArray[np.float32]


def play(
    clip: str, weights: str, fps: float, fuse_s: float, panel: str, severity: int
) -> Observations:
    """All observations of a clip, under a display where `panel` names one."""
    from pipeline.camera_config import CameraConfig
    from pipeline.live.stage_runner import run_stages
    from pipeline.media.display_simulation import open_simulation
    from pipeline.stages.classify import open_classify
    from pipeline.stages.detect import open_detect
    from pipeline.stages.source.file import VideoSource

    settings = load(
        source={"analyse_fps": fps},
        crop={"fuse_s": fuse_s},
        emotion={"routes": {"fast": {"weights": weights}}},
    )
    records: list[FaceObserved] = []

    def sink(events: Sequence[Event]) -> None:
        records.extend(event for event in events if isinstance(event, FaceObserved))

    display = open_simulation(panel, severity) if panel else None
    detect, classify = open_detect(settings.detector), open_classify(settings.emotion)
    with VideoSource(clip, "moving", "e0", analyse_fps=fps) as source:
        run_stages(
            *(source, detect, classify, CameraConfig(settings), sink),
            transform=display.apply if display else None,
        )
    return Observations(
        np.array([record.frame for record in records], np.int64),
        np.array([record.box for record in records], np.float32).reshape(-1, 4),
        np.array([record.track for record in records], np.int64),
        np.array(
            [[getattr(record.probabilities, name) for name in EMOTIONS] for record in records],
            np.float32,
        ).reshape(-1, len(EMOTIONS)),
    )


def compare(clean: Observations, degraded: Observations, fps: float) -> dict[str, float]:
    """The figures that the module's docstring explains."""
    ours, theirs = _match(clean, degraded)
    p, q = clean.probabilities[ours], degraded.probabilities[theirs]
    classes = degraded.probabilities.argmax(axis=1)
    order = np.lexsort((degraded.frames, degraded.tracks))
    is_same_track = degraded.tracks[order][1:] == degraded.tracks[order][:-1]
    changes = classes[order][1:] != classes[order][:-1]
    return {
        "seen": round(len(ours) / len(clean.frames), 4),
        "same_label": round(float((p.argmax(axis=1) == q.argmax(axis=1)).mean()), 4),
        "distance": round(float(np.abs(p - q).sum(axis=1).mean() / 2), 4),
        "unrest": round(float(changes[is_same_track].mean()), 4),
        "late_s": round(_find_delay(p, q) / fps, 2),
    }


def _match(clean: Observations, degraded: Observations) -> tuple[list[int], list[int]]:
    """Rows of observations at the same place of the same frame."""
    from models.faces import iou

    pairs = []
    for row, (frame, box) in enumerate(zip(clean.frames, clean.boxes, strict=True)):
        candidates = np.nonzero(degraded.frames == frame)[0]
        overlap = iou(box[None], degraded.boxes[candidates])[0]
        if len(candidates) and overlap.max() >= LEAST_IOU:
            pairs.append((row, int(candidates[overlap.argmax()])))
    return [one for one, _ in pairs], [other for _, other in pairs]


def _find_delay(p: NDArray[np.float32], q: NDArray[np.float32]) -> int:
    """Number of observations by which q is behind p: the shift with the smallest distance."""
    distances = [
        np.abs(p[: len(p) - by] - q[by:]).sum(axis=1).mean() for by in range(min(MAX_DELAY, len(p)))
    ]
    return int(np.argmin(distances))


def main() -> None:
    """Measure, print a table, and save the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", nargs="?", default="")
    parser.add_argument("--weights", default=RouteSettings().degraded)
    parser.add_argument("--panels", default="t-oled,p-oled")
    parser.add_argument("--severities", default="3,5")
    parser.add_argument("--fps", type=float, default=12.0)
    given = parser.parse_args()
    clip = given.clip or str(data_folder() / CLIP)
    common = (clip, given.weights, given.fps)
    clean = play(*common, 0.0, "", 1)
    print(f"{Path(clip).name}, {len(clean.frames)} observations, {given.fps:g} frames per second")
    table: dict[str, Any] = {}
    for panel in given.panels.split(","):
        for severity in map(int, given.severities.split(",")):
            for fuse_s in FUSE_S:
                row = compare(clean, play(*common, fuse_s, panel, severity), given.fps)
                table[f"{panel}/{severity}, {fuse_s:g} s"] = row
                line = ", ".join(f"{name} {value}" for name, value in row.items())
                print(f"{panel}/{severity}, {fuse_s:g} s  {line}", flush=True)
    about = {"clip": Path(clip).name, "weights": given.weights, "fps": given.fps}
    save_result(f"moving-face-{Path(given.weights).stem}", about | {"figures": table})


if __name__ == "__main__":
    main()
