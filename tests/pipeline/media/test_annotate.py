from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.emotions import EMOTIONS, UNKNOWN
from pipeline.media.annotate import annotate
from pipeline.palette import rgb

Picture = NDArray[np.uint8]
SADNESS = np.array([[0.1, 0.0, 0.0, 0.87, 0.0, 0.0, 0.03, 0.0]], np.float32)
Box = tuple[float, float, float, float]


def blank(light: int, height: int = 720, width: int = 1280) -> Picture:
    picture = np.full((height, width, 3), light, np.uint8)
    picture.setflags(write=False)
    return picture


def draw(picture: Picture, *boxes: Box, label: str = "sadness") -> Picture:
    count = len(boxes)
    return annotate(
        picture,
        np.array(boxes, np.float32).reshape(-1, 4),
        range(1, count + 1),
        [label] * count,
        [0.87] * count,
        SADNESS.repeat(count, axis=0),
    )


def where(picture: Picture, colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (picture == np.array(colour, np.uint8)).all(axis=2)
    return found


def span(found: NDArray[np.bool_]) -> Box:
    """x0, y0, x1, y1 of all that was found."""
    rows, columns = np.nonzero(found)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_nobody_leaves_a_copy() -> None:
    picture = blank(90)
    drawn = draw(picture)
    assert np.array_equal(drawn, picture)
    assert drawn is not picture
    assert drawn.flags.writeable


def test_the_picture_given_is_not_touched() -> None:
    picture = blank(90)
    assert not np.array_equal(draw(picture, (400, 200, 560, 400)), picture)
    assert (picture == 90).all()


@pytest.mark.parametrize("label", [*EMOTIONS, UNKNOWN])
def test_box_wears_the_colour_of_its_label(label: str) -> None:
    drawn = draw(blank(128), (400, 200, 560, 400), label=label)
    assert tuple(drawn[300, 400]) == tuple(drawn[300, 560]) == rgb(label)
    assert tuple(drawn[400, 480]) == rgb(label)
    assert tuple(drawn[300, 480]) == (128, 128, 128)


@pytest.mark.parametrize("light", [0, 128, 255])
def test_letters_stand_out_on_any_picture(light: int) -> None:
    plate = draw(blank(light), (400, 200, 560, 400))[172:198, 410:540]
    assert np.percentile(plate.mean(axis=2), 99) - np.median(plate) > 140


def test_bars_are_as_long_as_the_probabilities() -> None:
    chart = draw(blank(128), (400, 200, 560, 400), label="neutral")[200:340, 563:720]
    lengths = {}
    for name in ("sadness", "fear", "happiness"):
        x0, _, x1, _ = span(where(chart, rgb(name)))
        lengths[name] = int(x1 - x0)
    assert lengths["sadness"] == pytest.approx(0.87 * 64, abs=2)
    assert lengths["fear"] == pytest.approx(0.03 * 64, abs=2)
    assert lengths["happiness"] <= 1
    rows = [span(where(chart, rgb(name)))[1] for name in EMOTIONS[1:]]
    assert rows == sorted(set(rows))


def touched(box: Box, *others: Box) -> Box:
    """Bounds of all that is drawn for these faces beyond their boxes."""
    picture = blank(200)
    return span((draw(picture, box, *others) != picture).any(axis=2))


def test_chart_stands_where_there_is_room() -> None:
    assert touched((400, 200, 560, 400))[2] > 700  # right of the box
    assert touched((1100, 200, 1260, 400))[0] < 960  # left of it
    assert touched((400, 200, 560, 400), (580, 200, 760, 400))[0] < 260  # away from the neighbour


def test_grows_with_the_picture() -> None:
    def width(height: int) -> int:
        scale = height / 720
        picture = blank(200, height, round(1280 * scale))
        box = (400 * scale, 200 * scale, 560 * scale, 400 * scale)
        drawn = draw(picture, box)
        return int(span((drawn != picture).any(axis=2))[2] - box[2])

    assert width(1440) == pytest.approx(2 * width(720), rel=0.05)


def test_what_was_not_found_is_fainter_and_dashed() -> None:
    picture, box = blank(128), (400.0, 200.0, 560.0, 400.0)
    given = (np.array([box], np.float32), [1], ["sadness"], [0.87], SADNESS)
    sure, faint, gone = (annotate(picture, *given, [share]) for share in (1.0, 0.4, 0.0))
    assert np.array_equal(sure, annotate(picture, *given))
    assert np.array_equal(gone, picture)
    edges = [(drawn[200:400, 400] != 128).any(axis=1) for drawn in (sure, faint)]
    assert edges[0].all()
    assert 0.3 < edges[1].mean() < 0.9
    strengths = [np.abs(drawn.astype(int) - 128).sum() for drawn in (sure, faint)]
    assert strengths[1] < 0.5 * strengths[0]


def test_no_chart_hides_a_face_or_another_chart() -> None:
    """Six faces in a small picture, where charts have no room; labels have."""
    picture = blank(200, 240, 426)
    boxes = [(20.0 + 68 * n, 90.0, 60.0 + 68 * n, 140.0) for n in range(6)]
    drawn = draw(picture, *boxes)
    for x0, y0, x1, y1 in np.array(boxes, int):
        inside = drawn[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3]
        assert (inside == 200).all(axis=2).mean() > 0.8


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 400),
    st.integers(1, 400),
    st.lists(st.tuples(*[st.floats(-500, 900, width=32)] * 4), max_size=4),
)
def test_any_box_in_any_picture(height: int, width: int, boxes: list[Box]) -> None:
    picture = blank(77, height, width)
    drawn = draw(picture, *boxes)
    assert drawn.shape == picture.shape
    assert drawn.dtype == np.uint8
