"""Draws observations over an image: boxes, labels, and a small chart for each face."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from models.emotions import EMOTIONS
from models.faces import Float32
from pipeline.palette import rgb

Image = NDArray[np.uint8]
Rectangle = tuple[int, int, int, int]
"""x0, y0, x1, y1 in whole pixels."""

FONT = cv2.FONT_HERSHEY_DUPLEX
INK = (16, 20, 25)
SHADE = 0.72
"""Opacity of the plates behind text."""
LABEL_TEXT, CHART_TEXT = 0.58, 0.4
"""Sizes of the font, for an image 720 pixels high, as all that follow."""
ROW, NAME, BAR, GAP = 15, 70, 64, 6
"""Of the chart, pixels: height of a row, width of the names and of the longest bar, and the gap
round everything."""
LINE, DASH = 2.5, 12
"""Width of a box's line; length of a dash, and of the gap after it."""
MOST_HIDDEN = 0.1
"""A chart that would hide more than this share of a face, or be hidden so far, is left out."""
MOST_OF_ITS_OWN = 0.25
"""Of its own face a chart may hide more, where that fills the image."""
LEAST_UNIT = 0.7
"""Nothing is drawn smaller than for an image 504 pixels high: nobody could read it."""
FINE = 4
"""Letters are drawn this much larger and scaled down: OpenCV's thinnest line is too thick for small
ones."""


def annotate(
    image: Image,
    boxes: Float32,
    track_ids: Sequence[int] | NDArray[np.int64],
    labels: Sequence[str],
    confidences: Sequence[float] | Float32,
    probabilities: Float32,
    opacities: Sequence[float] | None = None,
) -> Image:
    """A copy of the image with every face marked, (height, width, 3) uint8 RGB.

    `image` likewise; `boxes` (n, 4) float32 xyxy pixels; `labels` of EMOTIONS or `unknown`;
    `confidences` 0..1; `probabilities` (n, 8) in the order of EMOTIONS; `opacities` 0..1, 1 where
    not given: below that the face was not found in this image, and its box is dashed. Labels and
    charts are placed where they hide the least, always inside the image; a chart without room is
    left out.
    """
    canvas = np.array(image, order="C")
    unit = max(canvas.shape[0] / 720, LEAST_UNIT)
    rectangles = [_rectangle(box) for box in boxes]
    opacities = [1.0] * len(rectangles) if opacities is None else opacities
    for rectangle, label, opacity in zip(rectangles, labels, opacities, strict=True):
        with _blend(canvas, opacity):
            _outline(canvas, rectangle, rgb(label), unit, is_dashed=opacity < 1)
    plates: list[Rectangle] = []
    for row, rectangle in enumerate(rectangles):
        text = f"#{track_ids[row]} {labels[row]} {confidences[row]:.2f}"
        others = rectangles[:row] + rectangles[row + 1 :]
        with _blend(canvas, opacities[row]):
            colour = rgb(labels[row])
            plates.append(_label(canvas, rectangle, others + plates, text, colour, unit))
    for row, rectangle in enumerate(rectangles):
        others = rectangles[:row] + rectangles[row + 1 :]
        place = _chart_place(canvas, rectangle, others + plates, unit)
        if place:
            plates.append(place)
            with _blend(canvas, opacities[row]):
                _chart(canvas, place, probabilities[row], unit)
    return canvas


@contextmanager
def _blend(canvas: Image, opacity: float) -> Iterator[None]:
    """Blend what is drawn in the block over the image with this opacity."""
    before = None if opacity >= 1 else canvas.copy()
    yield
    if before is not None:
        canvas[:] = cv2.addWeighted(canvas, opacity, before, 1 - opacity, 0)


def _rectangle(box: Float32) -> Rectangle:
    x0, y0, x1, y1 = (round(float(side)) for side in box)
    return x0, y0, x1, y1


def _outline(
    canvas: Image,
    rectangle: Rectangle,
    colour: tuple[int, int, int],
    unit: float,
    is_dashed: bool,
) -> None:
    x0, y0, x1, y1 = rectangle
    thick = round(LINE * unit)
    dash = round(DASH * unit)
    for line, width in ((INK, thick + 2), (colour, thick)):
        if not is_dashed:
            cv2.rectangle(canvas, (x0, y0), (x1, y1), line, width, cv2.LINE_AA)
            continue
        for x in range(x0, x1, 2 * dash):
            for y in (y0, y1):
                cv2.line(canvas, (x, y), (min(x + dash, x1), y), line, width, cv2.LINE_AA)
        for y in range(y0, y1, 2 * dash):
            for x in (x0, x1):
                cv2.line(canvas, (x, y), (x, min(y + dash, y1)), line, width, cv2.LINE_AA)


def _label(
    canvas: Image,
    rectangle: Rectangle,
    taken: list[Rectangle],
    text: str,
    colour: tuple[int, int, int],
    unit: float,
) -> Rectangle:
    """Draw the plate above the box, or below it where that hides less; returns its place."""
    coverage = _rasterise_text(text, LABEL_TEXT * unit)
    gap, stripe = round(GAP * unit), round(5 * unit)
    size = (stripe + coverage.shape[1] + 2 * gap, coverage.shape[0] + gap)
    tops = (rectangle[1] - size[1], rectangle[3])
    places = [_inside(canvas, rectangle[0], top, size) for top in tops]
    place = min(places, key=lambda place: sum(_intersection(place, other) for other in taken))
    _shade(canvas, place)
    x0, y0, _, y1 = place
    cv2.rectangle(canvas, (x0, y0), (x0 + stripe - 1, y1 - 1), colour, cv2.FILLED)
    _write(canvas, coverage, x0 + stripe + gap, y0 + gap // 2 + 1)
    return place


def _chart_place(
    canvas: Image, rectangle: Rectangle, taken: list[Rectangle], unit: float
) -> Rectangle | None:
    x0, y0, x1, y1 = rectangle
    gap = round(GAP * unit)
    width = round((NAME + BAR) * unit) + 2 * gap
    height = round(ROW * unit) * len(EMOTIONS) + 2 * gap
    left, right, low = x0 - gap - width, x1 + gap, y1 - height
    below = ((x0, y1 + gap), (x1 - width, y1 + gap))
    beside = ((right, y0), (left, y0), *below, (right, low), (left, low))
    places = [_inside(canvas, x, y, (width, height)) for x, y in beside]
    place = min(places, key=lambda place: sum(_intersection(place, o) for o in (rectangle, *taken)))
    is_clear = all(_hides(place, other) <= MOST_HIDDEN for other in taken)
    return place if is_clear and _hides(place, rectangle) <= MOST_OF_ITS_OWN else None


def _hides(a: Rectangle, b: Rectangle) -> float:
    """The share of the smaller of two rectangles that lies in the other, 0..1."""
    smaller = min((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (a, b))
    return _intersection(a, b) / smaller if smaller > 0 else 0.0


def _chart(canvas: Image, place: Rectangle, probabilities: Float32, unit: float) -> None:
    _shade(canvas, place)
    gap, step = round(GAP * unit), round(ROW * unit)
    left, longest = place[0] + gap + round(NAME * unit), round(BAR * unit)
    for row, (name, probability) in enumerate(zip(EMOTIONS, probabilities, strict=True)):
        top = place[1] + gap + row * step
        coverage = _rasterise_text(name, CHART_TEXT * unit)
        _write(canvas, coverage, place[0] + gap, top + (step - len(coverage)) // 2 + 1)
        right = left + round(float(probability) * longest)
        cv2.rectangle(canvas, (left, top + 2), (right, top + step - 3), rgb(name), cv2.FILLED)


@lru_cache(maxsize=128)
def _rasterise_text(text: str, scale: float) -> Image:
    """How much of each pixel the text covers, (height, width, 1) uint8; all texts of one scale have
    one height."""
    thick = max(round(1.2 * FINE * scale), 1)
    (width, _), _ = cv2.getTextSize(text, FONT, FINE * scale, thick)
    (_, height), below = cv2.getTextSize("#p", FONT, FINE * scale, thick)
    large = np.zeros((height + below + 2 * FINE, width), np.uint8)
    at = (0, height + FINE)
    cv2.putText(large, text, at, FONT, FINE * scale, 255, thick, cv2.LINE_AA)
    size = (-(-width // FINE), -(-large.shape[0] // FINE))
    small = cv2.resize(large, size, interpolation=cv2.INTER_AREA)
    return small[..., None].astype(np.uint8, copy=False)


def _write(canvas: Image, coverage: Image, x: int, y: int) -> None:
    window = canvas[y : y + coverage.shape[0], x : x + coverage.shape[1]]
    covered = coverage[: window.shape[0], : window.shape[1]].astype(np.uint16)
    window[:] = (window * (255 - covered) + 255 * covered) // 255


def _shade(canvas: Image, place: Rectangle) -> None:
    x0, y0, x1, y1 = place
    window = canvas[y0:y1, x0:x1]
    ink = np.empty_like(window)
    ink[:] = INK
    window[:] = cv2.addWeighted(window, 1 - SHADE, ink, SHADE, 0)


def _inside(canvas: Image, x: int, y: int, size: tuple[int, int]) -> Rectangle:
    """A rectangle of this size at x, y, or as near as the image allows, cut where it is larger
    than the image."""
    height, width, _ = canvas.shape
    x0 = min(max(x, 0), max(width - size[0], 0))
    y0 = min(max(y, 0), max(height - size[1], 0))
    return x0, y0, min(x0 + size[0], width), min(y0 + size[1], height)


def _intersection(a: Rectangle, b: Rectangle) -> int:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)
