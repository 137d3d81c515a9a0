"""Tracking against the truth of made worlds: python -m benchmarks.tracking [--seeds 5] [--json]

People cross, hide, leave and wander before cameras that turn; the detector's boxes jitter, some are
missing, one in ten is weak (`tests.pipeline.stages.worlds`). IDF1 and identity switches as the
package `trackers` computes them, and fragments: the tracks of a person beyond the first. Of our
tracker and, on the same boxes and times, of that package's SORT, ByteTrack, OC-SORT and C-BIoU:
`pip install trackers`, which Undercam itself does not need. Their thresholds are ours: scores from
`tracker.start_score`, lost after `tracker.lost_s`, confirmed by as many frames as lie in
`tracker.confirm_s`.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import save_result

if TYPE_CHECKING:
    from tests.pipeline.stages.worlds import Detections

Ids = list[NDArray[np.int64]]
"""For each frame the id of each of its boxes, -1 where it has none."""
RATES: tuple[float | str, ...] = (2, 5, 10, 15, 30, "variable")
VARIABLE_FPS = 10.0
"""How many frames a second the variable rate has on average."""
COUNTS = ("IDTP", "IDFN", "IDFP", "IDSW", "fragments")


def track_here(frames: list[Detections], fps: float) -> Ids:
    """By `pipeline.stages.track`."""
    from tests.pipeline.stages.worlds import ids_of, track

    found = []
    for frame, tracked in zip(frames, track(frames), strict=True):
        ids = ids_of(frame, tracked)
        found.append(np.array([ids.get(person, -1) for person in frame.people], np.int64))
    return found


def track_with(name: str) -> Callable[[list[Detections], float], Ids]:
    """By one of the package's trackers."""

    def run(frames: list[Detections], fps: float) -> Ids:
        import trackers
        from supervision import Detections as Boxes

        from tests.pipeline.stages.worlds import SETTINGS

        options: dict[str, Any] = {
            "lost_track_buffer": round(30 * SETTINGS.lost_s),
            "frame_rate": fps,
            "minimum_consecutive_frames": max(round(SETTINGS.confirm_s * fps), 1),
        }
        if name != "OCSORTTracker":
            options["track_activation_threshold"] = SETTINGS.start_score
        if name != "SORTTracker":
            options["high_conf_det_threshold"] = SETTINGS.start_score
        tracker = getattr(trackers, name)(**options)
        found = []
        for frame in frames:
            # A tracker may change the order of the boxes: each carries its own number.
            boxes = Boxes(
                xyxy=frame.faces.boxes.astype(float),
                confidence=frame.faces.scores.astype(float),
                data={"row": np.arange(len(frame.people))},
            )
            answer = tracker.update(boxes, timestamp=frame.pts_s)
            ids = np.full(len(frame.people), -1, np.int64)
            if len(answer):
                ids[answer.data["row"]] = answer.tracker_id
            found.append(ids)
        return found

    return run


TRACKERS: dict[str, Callable[[list[Detections], float], Ids]] = {
    "undercam": track_here,
    "SORT": track_with("SORTTracker"),
    "ByteTrack": track_with("ByteTrackTracker"),
    "OC-SORT": track_with("OCSORTTracker"),
    "C-BIoU": track_with("CBIoUTracker"),
}


def count_errors(frames: list[Detections], ids: Ids) -> dict[str, int]:
    """True and false identities, switches and fragments, as COUNTS names them. The truth of a frame
    are the people whom the detector found: no tracker here makes boxes of its own."""
    from trackers.eval.clear import compute_clear_metrics
    from trackers.eval.identity import compute_identity_metrics

    people = [np.array(frame.people, np.int64) for frame in frames]
    tracked = [of[of >= 0] for of in ids]
    same = [np.eye(len(of), dtype=float)[:, of >= 0] for of in ids]
    # The package counts ids from 0 without gaps.
    numbers = {id: n for n, id in enumerate(sorted({i for of in tracked for i in of.tolist()}))}
    renumbered = [np.array([numbers[i] for i in of.tolist()], np.int64) for of in tracked]
    found = compute_identity_metrics(people, renumbered, same)
    found |= compute_clear_metrics(people, renumbered, same)
    return {name: int(found[name]) for name in COUNTS[:-1]} | {
        "fragments": count_fragments(frames, ids)
    }


def count_fragments(frames: list[Detections], ids: Ids) -> int:
    """The tracks of each person beyond the first."""
    of_person: defaultdict[int, set[int]] = defaultdict(set)
    for frame, of in zip(frames, ids, strict=True):
        for person, id in zip(frame.people, of.tolist(), strict=True):
            if id >= 0:
                of_person[person].add(id)
    return sum(len(each) - 1 for each in of_person.values())


def measure(rate: float | str, seeds: int, missed: float) -> dict[str, dict[str, float]]:
    """Every tracker in every world at a rate: IDF1 in per cent over all boxes, switches and
    fragments a minute of world."""
    from tests.pipeline.stages.worlds import SECONDS, WORLDS, simulate, times

    fps = VARIABLE_FPS if isinstance(rate, str) else float(rate)
    totals: defaultdict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(COUNTS, 0))
    minutes = seeds * len(WORLDS) * SECONDS / 60
    for seed in range(seeds):
        for world in WORLDS:
            draw = np.random.default_rng(seed)
            frames = simulate(world(draw), times(rate, SECONDS, draw), draw, missed)
            for name, run in TRACKERS.items():
                for what, count in count_errors(frames, run(frames, fps)).items():
                    totals[name][what] += count
    return {
        name: {
            "idf1": round(
                200 * t["IDTP"] / max(2 * t["IDTP"] + t["IDFN"] + t["IDFP"], 1),
                1,
            ),
            "switches_per_minute": round(t["IDSW"] / minutes, 2),
            "fragments_per_minute": round(t["fragments"] / minutes, 2),
        }
        for name, t in totals.items()
    }


def main() -> None:
    """Measure, print, and save the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracking")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--missed", type=float, default=0.15, help="share of boxes not detected")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        import trackers
    except ImportError:
        raise SystemExit("no trackers to compare with: pip install trackers") from None
    warnings.simplefilter("ignore")
    found = {str(rate): measure(rate, options.seeds, options.missed) for rate in RATES}
    version = getattr(trackers, "__version__", "")
    result = save_result("tracking", vars(options) | {"trackers": version, "rates": found})
    if options.json:
        print(json.dumps(result))
        return
    for rate, rows in found.items():
        for name, row in rows.items():
            print(f"{rate:>8} fps  {name:10}", ", ".join(f"{k} {v}" for k, v in row.items()))


if __name__ == "__main__":
    main()
