"""A decoded frame's image: parts, sizes and grey of it without the whole being converted."""

from __future__ import annotations

import numpy as np
import pytest
from av.video.frame import VideoFrame
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.stages.source.images import DecodedImage, ToRgb

WIDTH, HEIGHT = 192, 108
RNG = np.random.default_rng(0)
TO_RGB = ToRgb()


def decoded(kind: str = "yuv420p", colours: int = 1, width: int = WIDTH) -> VideoFrame:
    """A frame as a decoder gives it, smooth so that neighbours say something of each other."""
    coarse = RNG.integers(40, 210, (9, 16, 1)) + RNG.integers(-40, 41, (9, 16, 3))
    rgb = VideoFrame.from_ndarray(coarse.astype(np.uint8), "rgb24").reformat(width, HEIGHT, "rgb24")
    frame = rgb.reformat(format=kind)
    frame.colorspace, frame.color_range = colours, 1
    return frame


def whole(frame: VideoFrame) -> NDArray[np.uint8]:
    return DecodedImage(frame, TO_RGB).rgb()


@pytest.mark.parametrize("kind", ["yuv420p", "yuvj420p", "nv12", "gray", "rgb24", "yuv444p"])
@pytest.mark.parametrize("colours", [1, 5], ids=["bt709", "bt601"])
@given(
    st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.integers(1, 90), st.integers(1, 90)
)
def test_a_part_is_that_part_of_the_whole(
    kind: str, colours: int, left: int, top: int, width: int, height: int
) -> None:
    frame = decoded(kind, colours)
    right, bottom = min(left + width, WIDTH), min(top + height, HEIGHT)
    part = DecodedImage(frame, TO_RGB).cut(left, top, right, bottom)
    assert np.array_equal(part, whole(frame)[top:bottom, left:right])


@pytest.mark.parametrize("width", [191, 192])
@pytest.mark.parametrize("kind", ["yuv420p", "yuvj420p", "rgb24"])
def test_scaled_down_is_the_mean_over_areas(kind: str, width: int) -> None:
    import cv2

    frame = decoded(kind, width=width)
    small = DecodedImage(frame, TO_RGB).scale(64, 36)
    wanted = cv2.resize(whole(frame), (64, 36), interpolation=cv2.INTER_AREA)
    difference = np.abs(small.astype(int) - wanted)
    assert difference.mean() < 2.5
    assert np.percentile(difference, 99) < 12


def test_scaled_up_is_smooth() -> None:
    frame = decoded()
    assert DecodedImage(frame, TO_RGB).scale(384, 216).shape == (216, 384, 3)


@pytest.mark.parametrize("kind", ["yuv420p", "rgb24"])
def test_a_thumbnail_is_grey(kind: str) -> None:
    frame = decoded(kind)
    small = DecodedImage(frame, TO_RGB).thumbnail(16, 9)
    assert small.shape == (9, 16)
    light = whole(frame) @ [0.299, 0.587, 0.114]
    means = light.reshape(9, 12, 16, 12).mean(axis=(1, 3))
    assert np.corrcoef(means.ravel(), small.ravel())[0, 1] > 0.97


def test_the_whole_is_converted_once_and_read_only() -> None:
    image = DecodedImage(decoded(), TO_RGB)
    first = image.rgb()
    assert image.rgb() is first
    assert not first.flags.writeable
    assert np.shares_memory(image.cut(3, 5, 50, 60), first)
    assert (image.width, image.height) == (WIDTH, HEIGHT)
