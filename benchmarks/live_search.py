"""Live search beside the search of whole frames: python -m benchmarks.live_search [CLIP ...]

The same clip, once with every frame searched whole and once as a live camera is searched
(`detector.full_search_s`, `detector.change_levels`). Of each clip:

    seen        share of the observations of the whole search that have one at the same place
    more        observations at places where the whole search has none, as a share of it
    same_label  share of those at the same place with the same predicted class
    distance    their mean total variation distance of probabilities, 0 equal .. 1
    tracks      number of tracks, whole and live
    detect_ms   CPU milliseconds a frame of the search, whole and live
    searched    frames by how much of them was searched live

--faces N: also the accuracy of N labelled faces, each shown for two seconds in H.264 and moving a
little, as in the end-to-end protocol: right, of its observations, and faces with any.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import data_folder, save_result
from models.emotions import EMOTIONS
from pipeline.config import Settings, load
from pipeline.records import Event, FaceObserved

if TYPE_CHECKING:
    from trainer.data.faceset import FaceSet

LEAST_IOU = 0.3
SHOWN_S, BLANK_S, FPS = 2.0, 1.0, 10
"""How long a labelled face is shown, and nothing after it; frames a second of that clip."""
SWAY_PX = 6.0


class Run:
    """The observations of one clip under some settings, and what the search cost."""

    def __init__(self, clip: Path, settings: Settings) -> None:
        from pipeline.camera_config import CameraConfig
        from pipeline.live.stage_runner import run_stages
        from pipeline.stages.classify import open_classify
        from pipeline.stages.detect import open_detect
        from pipeline.stages.source.file import VideoSource

        self.searched: Counter[str] = Counter()
        self.observations: list[FaceObserved] = []
        detect, classify = open_detect(settings.detector), open_classify(settings.emotion)
        began = time.process_time()
        seconds: list[float] = []

        def sink(events: Sequence[Event]) -> None:
            self.observations += [event for event in events if isinstance(event, FaceObserved)]

        def note(how: str, took_s: float) -> None:
            self.searched[how] += 1
            seconds.append(took_s)

        fps = settings.source.analyse_fps
        with VideoSource(clip, "search", "e0", analyse_fps=fps) as source:
            summary = run_stages(
                *(source, detect, classify, CameraConfig(settings), sink), on_search=note
            )
        self.cpu_ms = 1000 * (time.process_time() - began) / max(summary.analysed, 1)
        self.detect_ms = 1000 * float(np.median(seconds)), 1000 * float(np.mean(seconds))
        self.tracks = len(summary.tracks)

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        """Of the n observations: frames (n,), boxes (n, 4), probabilities (n, 8)."""
        names = list(EMOTIONS)
        return (
            np.array([one.frame for one in self.observations], np.int64),
            np.array([one.box for one in self.observations], np.float32).reshape(-1, 4),
            np.array(
                [[getattr(one.probabilities, name) for name in names] for one in self.observations],
                np.float32,
            ).reshape(-1, len(names)),
        )


def match(whole: Run, live: Run) -> list[tuple[int, int]]:
    """Rows of observations at the same place of the same frame, each at most once."""
    from models.faces import iou

    frames, boxes, _ = live.arrays()
    pairs, taken = [], set()
    for row, (frame, box) in enumerate(zip(*whole.arrays()[:2], strict=True)):
        candidates = [int(c) for c in np.flatnonzero(frames == frame) if int(c) not in taken]
        overlap = iou(box[None], boxes[candidates])[0]
        if len(candidates) and overlap.max() >= LEAST_IOU:
            pairs.append((row, candidates[int(overlap.argmax())]))
            taken.add(pairs[-1][1])
    return pairs


def compare(whole: Run, live: Run) -> dict[str, Any]:
    """The figures that the module's docstring explains."""
    pairs = match(whole, live)
    n = max(len(whole.observations), 1)
    p = whole.arrays()[2][[one for one, _ in pairs]]
    q = live.arrays()[2][[other for _, other in pairs]]
    same = (p.argmax(axis=1) == q.argmax(axis=1)).mean() if pairs else 1.0
    return {
        "observations": len(whole.observations),
        "seen": round(len(pairs) / n, 4),
        "more": round((len(live.observations) - len(pairs)) / n, 4),
        "same_label": round(float(same), 4),
        "distance": round(float(np.abs(p - q).sum(axis=1).mean() / 2) if pairs else 0.0, 4),
        "tracks": [whole.tracks, live.tracks],
        "detect_ms": [round(run.detect_ms[1], 1) for run in (whole, live)],
        "cpu_ms": [round(run.cpu_ms, 1) for run in (whole, live)],
        "searched": dict(live.searched),
    }


def write_faces(path: Path, faces: FaceSet) -> None:
    """A clip of labelled faces, one after the other, each on the same grey frame as in the
    end-to-end protocol, swaying by SWAY_PX."""
    import cv2

    from pipeline.live.end_to_end import GREY, HEIGHT, WIDTH, render
    from pipeline.media.video import VideoWriter

    blank = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    with VideoWriter(path, WIDTH, HEIGHT, FPS, crf=18) as writer:
        for tile, row in zip(faces.tiles, faces.ids, strict=True):
            image = render(tile, row)
            for number in range(round(SHOWN_S * FPS)):
                turn = 2 * np.pi * number / FPS
                x, y = SWAY_PX * np.sin(turn), SWAY_PX * np.cos(turn / 2)
                shift = np.array([[1, 0, x], [0, 1, y]], np.float32)
                moved = cv2.warpAffine(
                    image, shift, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE
                )
                writer.write(moved.astype(np.uint8))
            for _ in range(round(BLANK_S * FPS)):
                writer.write(blank)


def score(run: Run, faces: FaceSet) -> dict[str, float]:
    """`seen`: share of the faces with an observation; `right`: share of the observations with the
    face's label; `faces_right`: of the faces by the mean of their observations; `observations`
    for each face."""
    frames, _, probabilities = run.arrays()
    owner = frames // round((SHOWN_S + BLANK_S) * FPS)
    right = probabilities.argmax(axis=1) == faces.labels[owner]
    found = [owner == row for row in range(len(faces))]
    means = [probabilities[rows].mean(axis=0).argmax() if rows.any() else -1 for rows in found]
    return {
        "seen": round(float(np.mean([rows.any() for rows in found])), 4),
        "right": round(float(right.mean()), 4),
        "faces_right": round(float(np.mean(np.array(means) == faces.labels)), 4),
        "observations": round(len(frames) / len(faces), 2),
    }


def main() -> None:
    """Measure, print a line a clip, and save the result as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip", nargs="*", type=Path)
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--faces", type=int, default=0)
    parser.add_argument("--data", default="ferplus:cut")
    parser.add_argument("--flip", default="", help="emotion.routes.fast.flip of the live search")
    given = parser.parse_args()
    suffixes = (".mp4", ".mov", ".gif")
    clips = given.clip or sorted(
        path for path in (data_folder() / "media").iterdir() if path.suffix in suffixes
    )

    def runs(clip: Path, fps: float) -> tuple[Run, Run]:
        flips: tuple[dict[str, str], dict[str, str]] = (
            {},
            {"flip": given.flip} if given.flip else {},
        )
        settings = [
            load(
                source={"analyse_fps": fps},
                detector={"full_search_s": full_s, "threads": 1},
                emotion={"routes": {"fast": flip}},
            )
            for full_s, flip in zip((0.0, 0.8), flips, strict=True)
        ]
        return Run(clip, settings[0]), Run(clip, settings[1])

    table: dict[str, Any] = {}
    for clip in clips if given.clip or not given.faces else ():
        table[clip.name] = compare(*runs(clip, given.fps))
        print(clip.name, json.dumps(table[clip.name]), flush=True)
    if given.faces:
        from trainer.data.readers import open_faces

        faces = open_faces(given.data)[: given.faces]
        with tempfile.TemporaryDirectory() as folder:
            clip = Path(folder) / "faces.mp4"
            write_faces(clip, faces)
            whole, live = runs(clip, given.fps)
        scores = {"whole": score(whole, faces), "live": score(live, faces)}
        table["faces"] = compare(whole, live) | {"n": len(faces), **scores}
        print("faces", json.dumps(table["faces"]), flush=True)
    save_result("live-search", {"fps": given.fps, "figures": table})


if __name__ == "__main__":
    main()
