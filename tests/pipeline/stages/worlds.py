"""A made world of faces, where it is known who is who: as a detector sees it, and a tracker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.faces import Faces, iou
from pipeline.frames import FrameHeader, TrackedFaces
from pipeline.settings import TrackerSettings
from pipeline.stages.track import Tracker

SETTINGS = TrackerSettings()
WIDTH, HEIGHT = 640, 360
HIDDEN_FROM = 0.35
"""IoU with a nearer face at which the detector no longer finds the one behind."""


Path = Callable[[float], tuple[float, float, float]]
"""Media seconds -> centre x, centre y, side: pixels."""


@dataclass(frozen=True)
class Person:
    path: Path
    enters_s: float = 0.0
    leaves_s: float = np.inf
    away: tuple[tuple[float, float], ...] = ()

    def shows(self, at_s: float) -> bool:
        hidden = any(start <= at_s < end for start, end in self.away)
        return self.enters_s <= at_s < self.leaves_s and not hidden


@dataclass(frozen=True)
class Detections:
    """What the detector says about one frame, and which person each box is."""

    pts_s: float
    faces: Faces
    people: list[int]


def box_of(x: float, y: float, side: float) -> np.ndarray:
    half = np.array([0.43, 0.58]) * side
    return np.array([*(np.array([x, y]) - half), *(np.array([x, y]) + half)], np.float32)


def faces_of(boxes: list[np.ndarray], scores: list[float]) -> Faces:
    n = len(boxes)
    return Faces(
        np.array(boxes, np.float32).reshape(n, 4),
        np.array(scores, np.float32),
        np.zeros((n, 5, 2), np.float32),
    )


def simulate(
    people: list[Person],
    times_s: np.ndarray,
    rng: np.random.Generator,
    missed: float = 0.15,
    jitter: float = 0.03,
) -> list[Detections]:
    """Boxes with noise on every edge (share of the side), some missed, some weak, in any order.
    Of two faces that overlap, the later in the list is the nearer."""
    frames = []
    for at_s in times_s:
        seen: dict[int, np.ndarray] = {}
        there = [i for i, person in enumerate(people) if person.shows(at_s)]
        boxes = np.array([box_of(*people[i].path(at_s)) for i in there]).reshape(-1, 4)
        hidden = np.any(np.triu(iou(boxes, boxes), 1) > HIDDEN_FROM, axis=1).tolist()
        for i, box, is_hidden in zip(there, boxes, hidden, strict=True):
            if not is_hidden and rng.random() >= missed:
                seen[i] = box + rng.normal(size=4) * jitter * (box[3] - box[1]) / 1.16
        order = rng.permutation(list(seen)).astype(int).tolist()
        scores = [rng.uniform(0.3, 0.4) if rng.random() < 0.1 else 0.8 for _ in order]
        frames.append(Detections(float(at_s), faces_of([seen[i] for i in order], scores), order))
    return frames


def still(x: float, y: float, side: float) -> Path:
    return lambda at_s: (x, y, side)


def walk(start: tuple[float, float], end: tuple[float, float], side: float, s: float) -> Path:
    """From `start` at 0 s to `end` at `s` seconds, and on."""
    a, b = np.array(start), np.array(end)
    return lambda at_s: (*(a + (b - a) * at_s / s), side)


def later(path: Path, by_s: float) -> Path:
    return lambda at_s: path(at_s - by_s)


def swaying(x: float, y: float, side: float, sides: float, hertz: float) -> Path:
    """To the left and the right by `sides`."""
    return lambda at_s: (x + sides * side * np.sin(2 * np.pi * hertz * at_s), y, side)


def restless(
    x: float, y: float, side: float, speed: float, seconds: float, rng: np.random.Generator
) -> Path:
    """A head that wanders about its place at `speed` sides a second (rms), turning about every
    0.4 s, and comes nearer or goes back a little."""
    step, turn, spring = 0.01, 0.4, 4.0
    n = int(seconds / step) + 2
    track, velocity = np.zeros((n, 3)), np.zeros(3)
    push = np.array([speed, speed, 0.2]) * np.sqrt(2 / turn * step)
    for i in range(1, n):
        velocity += -(velocity / turn + spring * track[i - 1]) * step + push * rng.normal(size=3)
        track[i] = track[i - 1] + velocity * step
    clock = np.arange(n) * step

    def path(at_s: float) -> tuple[float, float, float]:
        dx, dy, grown = (np.interp(at_s, clock, track[:, k]) for k in range(3))
        return x + side * dx, y + side * dy, side * float(np.exp(grown))

    return path


def times(rate: float | str, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Frame times at a rate, or "variable": 10 a second on average, 33 to 400 ms apart."""
    if rate == "variable":
        steps = rng.exponential(0.1, size=int(seconds * 20)).clip(1 / 30, 0.4)
        return np.cumsum(steps)[np.cumsum(steps) < seconds]
    return np.arange(int(seconds * float(rate))) / float(rate)


def header(index: int, pts_s: float, width: int = WIDTH, height: int = HEIGHT) -> FrameHeader:
    return FrameHeader("cam", "e1", index, pts_s, 0, 0, "media", width, height)


def track(frames: list[Detections], settings: TrackerSettings = SETTINGS) -> list[TrackedFaces]:
    tracker = Tracker(settings)
    return [tracker.update(header(i, frame.pts_s), frame.faces) for i, frame in enumerate(frames)]


def ids_of(frame: Detections, tracked: TrackedFaces) -> dict[int, int]:
    """Person -> id, of the faces that have one."""
    ids = dict(zip(map(bytes, tracked.faces.boxes), tracked.track_ids.tolist(), strict=True))
    people = zip(frame.people, map(bytes, frame.faces.boxes), strict=True)
    return {person: ids[box] for person, box in people if box in ids}


def all_ids(frames: list[Detections]) -> list[dict[int, int]]:
    return [ids_of(frame, tracked) for frame, tracked in zip(frames, track(frames), strict=True)]


SECONDS = 12.0


def calm(rng: np.random.Generator) -> list[Person]:
    return [Person(restless(120 + 200 * i, 180, 70, 0.5, SECONDS, rng)) for i in range(3)]


def lively(rng: np.random.Generator) -> list[Person]:
    return [Person(restless(320, 180, 80, 2.0, SECONDS, rng))]


def crowd(rng: np.random.Generator) -> list[Person]:
    return [Person(restless(80 + 75 * i, 180, 50, 0.3, SECONDS, rng)) for i in range(5)]


def crossing(rng: np.random.Generator) -> list[Person]:
    """Pairs that walk past each other, one hidden behind the other for a while."""
    people = []
    for k in range(3):
        over = later(walk((150, 180), (450, 180), 60, 2.5), 5 * k)
        back = later(walk((450, 195), (150, 195), 70, 2.5), 5 * k)
        people += [Person(over, 5 * k, 5 * k + 2.5), Person(back, 5 * k, 5 * k + 2.5)]
    return people


def passing_by(rng: np.random.Generator) -> list[Person]:
    """People who enter on the left and leave on the right, five rows of them."""
    rows = [60 + 60 * (k % 5) for k in range(10)]
    paths = [later(walk((-20, y), (660, y), 60, 4), 1.5 * k) for k, y in enumerate(rows)]
    return [Person(path, 1.5 * k, 1.5 * k + 4) for k, path in enumerate(paths)]


def pillar(rng: np.random.Generator) -> list[Person]:
    """One who stands and people who walk, each hidden for half a second."""
    away = tuple((2 + 2.5 * k, 2.5 + 2.5 * k) for k in range(4))
    people = [Person(restless(200, 180, 90, 0.5, SECONDS, rng), away=away)]
    for k in range(0, 12, 4):
        path = later(walk((60, 320), (580, 320), 60, 2.8), k)
        people.append(Person(path, k, k + 2.8, ((k + 1.1, k + 1.6),)))
    return people


def pan(rng: np.random.Generator) -> list[Person]:
    """Three who sit still before a camera that turns by four box sides in a second, every three."""

    def turned(at_s: float) -> float:
        turn, rest = divmod(at_s, 3)
        return 200 * (min(rest, 1) if turn % 2 == 0 else 1 - min(rest, 1))

    def path(x: float) -> Path:
        return lambda at_s: (x + turned(at_s), 180, 50)

    return [Person(path(150 + 120 * i)) for i in range(3)]


def waved(rng: np.random.Generator) -> list[Person]:
    """One before a camera that is waved: up to four box sides a second, there and back."""
    return [Person(swaying(320, 180, 60, 1.2, 0.6))]


World = Callable[[np.random.Generator], list[Person]]
WORLDS: tuple[World, ...] = (calm, lively, crowd, crossing, passing_by, pillar, pan, waved)
