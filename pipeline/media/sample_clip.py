"""The built-in sample clip: real faces moving over a plain wall, so that a first run needs no
camera.

The photographs lie inside two packages that are installed anyway; the clip is made on demand. A
script of twenty seconds repeats: people come and go, one passes in front of another, and for a
while nobody is there.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.media.video import VideoWriter

Image = NDArray[np.uint8]

GROUP = ("insightface", "data/images/t1.jpg")
ASTRONAUT = ("skimage", "data/astronaut.png")
SCRIPT_S = 20.0
"""After this long the script begins again."""


@dataclass(frozen=True)
class Person:
    """A portrait and where it goes.

    `photograph`: package and path in it; `centre`, `side`: the square cut from it, pixels; `size`:
    side of the card, as a share of the clip's height; `path`: (second, x, y) in shares of the
    clip's width and height. It moves smoothly between two points, and is absent before the
    first and after the last.
    """

    photograph: tuple[str, str]
    centre: tuple[int, int]
    side: int
    size: float
    path: tuple[tuple[float, float, float], ...]


PEOPLE = (
    Person(
        ASTRONAUT,
        (227, 108),
        216,
        0.44,
        ((0.0, -0.14, 0.42), (1.4, 0.17, 0.45), (6.6, 0.18, 0.50), (7.8, -0.14, 0.62)),
    ),
    Person(
        GROUP,
        (1177, 340),
        206,
        0.42,
        ((0.8, 0.52, 1.32), (2.2, 0.49, 0.56), (7.2, 0.50, 0.48), (8.6, 0.49, -0.32)),
    ),
    Person(
        GROUP,
        (521, 330),
        246,
        0.48,
        ((1.8, 1.16, 0.40), (3.2, 0.82, 0.46), (7.6, 0.81, 0.52), (9.0, 1.16, 0.60)),
    ),
    Person(GROUP, (797, 400), 226, 0.40, ((3.6, -0.14, 0.66), (7.4, 1.14, 0.44))),
    Person(
        GROUP,
        (118, 330),
        230,
        0.46,
        ((11.0, -0.14, 0.60), (12.4, 0.18, 0.52), (17.6, 0.17, 0.46), (18.8, -0.14, 0.40)),
    ),
    Person(
        GROUP,
        (958, 112),
        222,
        0.44,
        ((11.8, 0.50, -0.32), (13.2, 0.50, 0.46), (18.0, 0.48, 0.54), (19.4, 0.50, 1.32)),
    ),
    Person(
        GROUP,
        (322, 206),
        220,
        0.42,
        ((12.8, 1.16, 0.62), (14.2, 0.81, 0.54), (18.4, 0.82, 0.46), (19.6, 1.16, 0.42)),
    ),
)
"""Later ones walk in front of earlier ones."""

SWAY_X, SWAY_Y, BREATH, TILT_DEGREES = 0.012, 0.018, 0.04, 2.0
"""How far a portrait sways (shares of width and height), grows, and tilts."""
SHADOW_REACH, SHADOW_DEPTH = 0.14, 0.55
"""How far a card's shadow reaches, as a share of its side, and how dark it is."""


def write_sample(
    path: str | Path,
    seconds: float = SCRIPT_S,
    fps: float = 25,
    size: tuple[int, int] = (1280, 720),
) -> None:
    """Write the sample clip, `size` (width, height) pixels; the same bytes every time.

    Raises InputError where the photographs are missing, and what VideoWriter raises.
    """
    with VideoWriter(path, *size, fps) as video:
        for frame in generate_frames(seconds, fps, size):
            video.write(frame)


def generate_frames(seconds: float, fps: float, size: tuple[int, int]) -> Iterator[Image]:
    """The frames of the sample, (height, width, 3) uint8 RGB.

    Raises InputError where the photographs are missing.
    """
    wall = _wall(*size)
    cards = [_card(person, size[1]) for person in PEOPLE]
    for index in range(round(seconds * fps)):
        now_s = index / fps % SCRIPT_S
        frame = wall.copy()
        for number, (person, card) in enumerate(zip(PEOPLE, cards, strict=True)):
            if person.path[0][0] < now_s < person.path[-1][0]:
                _paste(frame, card, _placement(person, number, now_s, size))
        yield frame


def _photograph(package: str, inside: str) -> Image:
    # find_spec does not import the package: insightface alone would take seconds.
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0], inside) if folders else Path(package, inside)
    image = cv2.imread(str(path)) if path.is_file() else None
    if image is None:
        raise InputError("the sample's photograph is missing", str(path), f"reinstall {package}")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def _wall(width: int, height: int) -> Image:
    """A plain wall, lit from the upper left."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    light = np.exp(-((x / width - 0.35) ** 2 + (y / height - 0.3) ** 2) / 0.9)[..., None]
    dark, bright = np.array([58, 72, 84]), np.array([134, 150, 156])
    grain = np.random.default_rng(0).uniform(0, 1, (height, width, 1))  # against banding
    return (dark + (bright - dark) * light + grain).astype(np.uint8)


def _card(person: Person, height: int) -> Image:
    """The portrait on a rounded card with its shadow, (s, s, 4) uint8, colour times opacity."""
    half = person.side // 2
    x, y = person.centre
    cut = _photograph(*person.photograph)[max(y - half, 0) : y + half, max(x - half, 0) : x + half]
    side = round(person.size * height)
    margin = round(SHADOW_REACH * side)
    face = cv2.resize(cut, (side, side), interpolation=cv2.INTER_CUBIC)
    sharp = np.pad(_draw_rounded_square(side), margin)
    below = np.roll(sharp, margin // 4, axis=0)
    shadow = SHADOW_DEPTH * cv2.GaussianBlur(below, (0, 0), margin / 5)
    opacity = 255 * (sharp + shadow * (1 - sharp))
    colour = np.pad(face, ((margin, margin), (margin, margin), (0, 0))) * sharp[..., None]
    return np.dstack([colour, opacity]).round().astype(np.uint8)


def _draw_rounded_square(side: int) -> NDArray[np.float32]:
    """A square with rounded corners and a soft edge, (side, side) in 0..1."""
    radius = 0.16 * side
    offset = np.abs(np.arange(side, dtype=np.float32) - (side - 1) / 2)
    beyond = np.clip(offset - (side / 2 - radius - 2), 0, None)
    distance = np.hypot(beyond[:, None], beyond[None, :]) - radius
    return np.clip(0.5 - distance / 2, 0, 1).astype(np.float32)


def _placement(
    person: Person, number: int, now_s: float, size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Centre x, y in pixels, scale, tilt in degrees."""
    x, y = _glide(person.path, now_s)
    phase = 2 * math.pi * now_s + 1.7 * number
    x += SWAY_X * math.sin(phase / 4.0)
    y += SWAY_Y * math.sin(phase / 2.9 + 1.0)
    scale = 1 + BREATH * math.sin(phase / 5.3)
    return x * size[0], y * size[1], scale, TILT_DEGREES * math.sin(phase / 3.7)


def _glide(path: tuple[tuple[float, float, float], ...], now_s: float) -> tuple[float, float]:
    following = next(i for i, (at_s, _, _) in enumerate(path) if at_s > now_s)
    (t0, x0, y0), (t1, x1, y1) = path[following - 1 : following + 1]
    done = (now_s - t0) / (t1 - t0)
    eased = done * done * (3 - 2 * done)
    return x0 + (x1 - x0) * eased, y0 + (y1 - y0) * eased


def _paste(frame: Image, card: Image, placement: tuple[float, float, float, float]) -> None:
    """Blend a card into a frame, in place."""
    x, y, scale, tilt = placement
    centre = (len(card) - 1) / 2
    half = math.ceil(len(card) * scale * 0.55)
    left, top = max(round(x) - half, 0), max(round(y) - half, 0)
    window = frame[top : max(round(y) + half, 0), left : max(round(x) + half, 0)]
    if window.size == 0:
        return
    turn = cv2.getRotationMatrix2D((centre, centre), tilt, scale)
    turn[:, 2] += x - left - centre, y - top - centre
    warped = cv2.warpAffine(card, turn, (window.shape[1], window.shape[0]))
    transparency = cv2.cvtColor(255 - warped[..., 3], cv2.COLOR_GRAY2RGB)
    behind = cv2.multiply(window, transparency, scale=1 / 255)
    window[:] = cv2.add(cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB), behind)
