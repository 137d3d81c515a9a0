"""One geometry from image to network: against slow counts, at every edge, and both ways in."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.alignment import TEMPLATE
from models.crops import (
    ALIGNED,
    CROP_PX,
    GEOMETRY,
    Crops,
    crop_faces,
    crop_frame,
    crops_from_tiles,
    resize_to_crop,
)
from models.errors import ModelError
from models.faces import Faces
from models.frame_image import RgbImage
from models.model_input import LUMA, to_model_input
from models.weights import ModelCard

Image = NDArray[np.uint8]
MakeCard = Callable[..., ModelCard]


def noise(*shape: int) -> Image:
    return np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)


PICTURE = noise(60, 80, 3)


def face(*box: float) -> Faces:
    return Faces(
        np.array([box], np.float32), np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32)
    )


def average_by_hand(grey: NDArray[np.float64], smaller: int) -> NDArray[np.float64]:
    """Every new pixel the mean of the area that it covers, counted piece by piece."""
    step = len(grey) / smaller
    out = np.zeros((smaller, smaller))
    for i in range(smaller):
        for j in range(smaller):
            for y in range(int(i * step), min(int(np.ceil((i + 1) * step)), len(grey))):
                for x in range(int(j * step), min(int(np.ceil((j + 1) * step)), len(grey))):
                    high = min(y + 1, (i + 1) * step) - max(y, i * step)
                    wide = min(x + 1, (j + 1) * step) - max(x, j * step)
                    out[i, j] += grey[y, x] * high * wide / step**2
    return out


@pytest.mark.parametrize("px", [30, 48, 56])
def test_shrinking_averages_over_exact_areas(make_card: MakeCard, crops: Crops, px: int) -> None:
    found = to_model_input(crops, make_card(input_px=px, mean=(0.0,), std=(1.0,)))[0, 0].numpy()
    grey = (crops[0].astype(float) / 255) @ np.array(LUMA)
    np.testing.assert_allclose(found, average_by_hand(grey, px), atol=2e-6)


@pytest.mark.parametrize("px", [24, 48, 64, 112])
@pytest.mark.parametrize("channels", [1, 3])
def test_shape_mean_and_normalisation(
    make_card: MakeCard, crops: Crops, px: int, channels: int
) -> None:
    card = make_card(input_px=px, channels=channels, mean=(0.4,) * channels, std=(0.2,) * channels)
    x = to_model_input(crops, card)
    assert tuple(x.shape) == (5, channels, px, px)
    weights = np.array(LUMA if channels == 1 else [1 / 3] * 3)
    means = crops.reshape(5, -1, 3).mean(axis=1) / 255 @ weights
    np.testing.assert_allclose(x.mean(dim=(1, 2, 3)), (means - 0.4) / 0.2, atol=1e-5)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_luma_weighs_red_green_and_blue(make_card: MakeCard, channel: int) -> None:
    crops = np.zeros((1, CROP_PX, CROP_PX, 3), np.uint8)
    crops[..., channel] = 255
    crops[:, :, CROP_PX // 2 :] = 255
    x = to_model_input(crops, make_card(mean=(0.0,), std=(1.0,)))
    np.testing.assert_allclose(x[..., :24], LUMA[channel], rtol=1e-5)
    np.testing.assert_allclose(x[..., 24:], 1, rtol=1e-5)


def test_no_crops_are_no_input(make_card: MakeCard) -> None:
    assert tuple(to_model_input(noise(0, 112, 112, 3), make_card()).shape) == (0, 1, 48, 48)


@pytest.mark.parametrize(
    "crops",
    [
        noise(2, 111, 112, 3),
        noise(2, 112, 112),
        noise(112, 112, 3),
        noise(2, 112, 112, 1),
        noise(2, 3, 112, 112),
        noise(2, 112, 112, 3).astype(np.float32),
        noise(2, 112, 112, 3).astype(np.int64),
    ],
    ids=lambda crops: f"{crops.shape}{crops.dtype}",
)
def test_other_crops_are_refused(make_card: MakeCard, crops: Crops) -> None:
    with pytest.raises(ModelError, match=r"crops of shape .* give \(n, 112, 112, 3\) uint8 RGB"):
        to_model_input(crops, make_card())


@given(st.integers(0, 255), st.sampled_from([(48, 48), (20, 30), (112, 112), (224, 224, 3)]))
def test_constant_tiles_stay_constant(level: int, shape: tuple[int, ...]) -> None:
    crops = crops_from_tiles(np.full((2, *shape), level, np.uint8))
    assert crops.shape == (2, CROP_PX, CROP_PX, 3)
    assert (crops == level).all()


def test_a_large_tile_is_averaged_down() -> None:
    """Without averaging, the noise of a large face would stay as strong as in the image."""
    tile = noise(224, 224, 3)
    blocks = tile.reshape(112, 2, 112, 2, 3).mean(axis=(1, 3))
    assert abs(crops_from_tiles(tile[None])[0] - blocks).max() <= 0.75


def test_a_grey_tile_is_grey() -> None:
    crops = crops_from_tiles(noise(3, 48, 48))
    assert (crops == crops[..., :1]).all()
    assert len(crops_from_tiles(noise(0, 48, 48))) == 0


@pytest.mark.parametrize("px", [24, 48, 111, 112, 113, 224])
def test_a_tile_in_a_frame_is_cut_as_training_saw_it(px: int) -> None:
    tile = noise(px, px, 3)
    frame = noise(px + 50, px + 40, 3)
    frame[20 : 20 + px, 10 : 10 + px] = tile
    found = crop_faces(frame, face(10, 20, 10 + px, 20 + px))
    assert np.array_equal(found, crops_from_tiles(tile[None]))


coordinates = st.integers(-80, 400).map(lambda quarter: quarter / 4)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[float, float, float, float]:
    """A box on a grid of quarter pixels, in, over the edge of, or outside the image."""
    x0, y0 = draw(coordinates), draw(coordinates)
    sides = st.integers(1, 240).map(lambda quarter: quarter / 4)
    return x0, y0, x0 + draw(sides), y0 + draw(sides)


@given(boxes(), st.integers(0, 9), st.integers(0, 9))
def test_moving_picture_and_face_alike_changes_nothing(
    box: tuple[float, float, float, float], dx: int, dy: int
) -> None:
    moved_picture = np.pad(PICTURE, ((dy, 0), (dx, 0), (0, 0)), mode="edge")
    x0, y0, x1, y1 = box
    moved = crop_faces(moved_picture, face(x0 + dx, y0 + dy, x1 + dx, y1 + dy))
    assert np.array_equal(moved, crop_faces(PICTURE, face(*box)))


@given(boxes())
def test_the_border_is_repeated(box: tuple[float, float, float, float]) -> None:
    around = 200
    padded = np.pad(PICTURE, ((around, around), (around, around), (0, 0)), mode="edge")
    inside = face(*(value + around for value in box))
    assert np.array_equal(crop_faces(padded, inside), crop_faces(PICTURE, face(*box)))


@pytest.mark.parametrize(
    ("box", "row", "column"),
    [
        ((-50, -50, -20, -20), 0, 0),
        ((200, 100, 220, 120), -1, -1),
        ((5.1, 9.2, 5.3, 9.4), 9, 5),  # smaller than a pixel
        ((40.2, 30.2, 40.2, 30.2), 30, 40),  # of no size at all
    ],
)
def test_one_pixel_is_a_flat_crop(box: tuple[float, ...], row: int, column: int) -> None:
    assert (crop_faces(PICTURE, face(*box)) == PICTURE[row, column]).all()


def test_the_longer_side_is_the_squares_side() -> None:
    tall, wide, square = face(30, 10, 40, 50), face(15, 25, 55, 35), face(15, 10, 55, 50)
    assert np.array_equal(crop_faces(PICTURE, tall), crop_faces(PICTURE, square))
    assert np.array_equal(crop_faces(PICTURE, wide), crop_faces(PICTURE, square))
    wanted = crops_from_tiles(PICTURE[None, 10:50, 15:55])
    assert np.array_equal(crop_faces(PICTURE, square), wanted)


def test_every_face_has_its_crop_and_none_has_none() -> None:
    two = Faces(
        np.array([[0, 0, 20, 20], [40, 30, 60, 50]], np.float32),
        np.ones(2, np.float32),
        np.zeros((2, 5, 2), np.float32),
    )
    found = crop_faces(PICTURE, two)
    assert np.array_equal(found[1:], crop_faces(PICTURE, two[1:]))
    assert np.array_equal(found[:1], crop_faces(PICTURE, two[:1]))
    assert crop_faces(PICTURE, Faces.none()).shape == (0, CROP_PX, CROP_PX, 3)


def square_by_hand(image: Image, box: tuple[float, float, float, float]) -> Image:
    """The square crop of a box, pixel by pixel."""
    x0, y0, x1, y1 = (np.float32(value) for value in box)
    side = max(int(np.floor(max(x1 - x0, y1 - y0) + 0.5)), 1)
    left = int(np.floor((x0 + x1 - side) / 2 + 0.5))
    top = int(np.floor((y0 + y1 - side) / 2 + 0.5))
    height, width = image.shape[:2]
    square = np.empty((side, side, 3), np.uint8)
    for y in range(side):
        for x in range(side):
            row, column = min(max(top + y, 0), height - 1), min(max(left + x, 0), width - 1)
            square[y, x] = image[row, column]
    return resize_to_crop(square)


def with_points(
    box: tuple[float, float, float, float], points: NDArray[np.float64], score: float = 0.9
) -> Faces:
    """A face with points in shares of its square box."""
    x0, y0, x1, _ = box
    landmarks = (points * (x1 - x0) + [x0, y0]).astype(np.float32)[None]
    return Faces(np.array([box], np.float32), np.array([score], np.float32), landmarks)


@given(boxes(), st.floats(0, 1))
def test_points_change_no_square_crop(box: tuple[float, float, float, float], at: float) -> None:
    wanted = square_by_hand(PICTURE, box)
    boxed = face(*box)
    pointed = Faces(boxed.boxes, boxed.scores, (TEMPLATE[None] * 60 * at).astype(np.float32))
    for faces in (boxed, pointed):
        assert np.array_equal(crop_faces(PICTURE, faces)[0], wanted)
        assert np.array_equal(crop_faces(PICTURE, faces, GEOMETRY)[0], wanted)


@pytest.mark.parametrize("side", [40, 112, 224, 300])
def test_an_aligned_crop_is_the_square_one_where_the_face_is_straight_or_its_points_weak(
    side: int,
) -> None:
    """Also for a large face, which must be averaged down as in the square crop."""
    frame = cv2.GaussianBlur(noise(400, 400, 3), (0, 0), 1.5)
    box = (30.0, 20.0, 30.0 + side, 20.0 + side)
    straight, bent = with_points(box, TEMPLATE), with_points(box, TEMPLATE[[1, 0, 2, 3, 4]])
    unsure = with_points(box, TEMPLATE + 0.1, score=0.2)
    square = crop_faces(frame, straight)
    aligned = crop_faces(frame, straight, ALIGNED)
    differences = np.abs(aligned[0, 2:-2, 2:-2].astype(int) - square[0, 2:-2, 2:-2])
    assert differences.mean() < 1
    assert differences.max() <= 9
    for weak in (bent, unsure):
        assert np.array_equal(crop_faces(frame, weak, ALIGNED), square)


@pytest.mark.parametrize("side", [60, 160])
def test_an_aligned_crop_follows_the_face_in_the_frame(side: int) -> None:
    """Each face of a frame is turned as its points say, wherever its box is."""
    frame = cv2.GaussianBlur(noise(400, 400, 3), (0, 0), 4)
    frame = cv2.normalize(frame, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    box = (120.0, 120.0, 120.0 + side, 120.0 + side)
    middle, turn, grow = 120 + side / 2, 20.0, 0.9
    turned_by = cv2.getRotationMatrix2D((middle - 0.5, middle - 0.5), turn, grow)
    turned = cv2.warpAffine(frame, turned_by, (400, 400), flags=cv2.INTER_CUBIC).astype(np.uint8)
    z = (TEMPLATE - 0.5) @ np.array([1, 1j]) * grow * np.exp(-1j * np.radians(turn))
    points = np.stack([z.real, z.imag], 1) + 0.5
    straight = crop_faces(frame, with_points(box, TEMPLATE), ALIGNED)[0].astype(int)
    faces = with_points(box, points)
    found = crop_faces(turned, faces, ALIGNED)[0].astype(int)
    square = crop_faces(turned, faces)[0].astype(int)
    assert np.abs(found - straight).mean() < 1.5
    assert np.abs(square - straight).mean() > 10
    assert crop_faces(turned, Faces.none(), ALIGNED).shape == (0, CROP_PX, CROP_PX, 3)


@given(st.floats(-90, 120), st.floats(-90, 100), st.floats(1, 90), st.floats(1, 90))
def test_a_crop_needs_only_the_part_that_it_shows(x: float, y: float, w: float, h: float) -> None:
    faces = face(x, y, x + w, y + h)
    for geometry in (GEOMETRY, ALIGNED):
        wanted = crop_faces(PICTURE, faces, geometry)
        assert np.array_equal(crop_frame(RgbImage(PICTURE.copy()), faces, geometry), wanted)
