"""Clear images pass unchanged; in degraded ones, smoothed and stretched, faces are found."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from models.detectors.conditioner import (
    Conditioning,
    ConditioningDetector,
    condition_image,
    measure,
)
from models.detectors.opening import open_detector
from models.faces import Faces, iou
from models.frame_image import RgbImage
from models.udc.panel import apply_panel
from models.udc.suites import find_panel

Image = NDArray[np.uint8]


class Remembers:
    """A detector that keeps what it was shown."""

    name = "remembers"

    def __init__(self) -> None:
        self.shown: list[Image] = []

    def detect(self, image: Image) -> Faces:
        self.shown.append(image)
        return Faces.none()


@pytest.fixture(scope="module")
def clean() -> Image:
    return skimage.data.astronaut()


@pytest.fixture(scope="module")
def dim(clean: Image) -> Image:
    return apply_panel(clean[None], find_panel("udc_dark/5").at(2.5), np.random.default_rng(0))[0]


@pytest.mark.parametrize(("when", "touched"), [("auto", (False, True)), ("always", (True, True)),
                                               ("never", (False, False))])  # fmt: skip
def test_when_a_picture_is_conditioned(
    clean: Image, dim: Image, when: str, touched: tuple[bool, bool]
) -> None:
    detector = Remembers()
    both = ConditioningDetector(detector, when)
    assert both.name == "remembers"
    for image in (clean, dim):
        both.detect(image)
    changed = [
        not np.array_equal(seen, was)
        for seen, was in zip(detector.shown, (clean, dim), strict=True)
    ]
    assert tuple(changed) == touched


class KnowsNoise(Remembers):
    """One that looks at noisy images in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.noise: list[float] = []

    def detect_in_noise(self, image: Image, noise: float) -> Faces:
        self.noise.append(noise)
        return super().detect(image)


@pytest.mark.parametrize(("when", "asked"), [("auto", 1), ("always", 1), ("never", 0)])
def test_who_knows_noise_is_left_to_it(clean: Image, when: str, asked: int) -> None:
    noise = np.random.default_rng(1).normal(0, 20, clean.shape)
    noisy = np.clip(clean + noise, 0, 255).astype(np.uint8)
    detector = KnowsNoise()
    ConditioningDetector(detector, when).detect(noisy)
    ConditioningDetector(detector, when).detect(clean)
    assert len(detector.shown) == 2
    assert np.array_equal(detector.shown[0], noisy)
    assert detector.noise == pytest.approx([measure(noisy).noise] * asked)


@pytest.mark.parametrize("sigma", [3.0, 8.0, 20.0])
def test_noise_is_measured(clean: Image, sigma: float) -> None:
    noise = np.random.default_rng(1).normal(0, sigma, clean.shape[:2])[..., None]
    found = measure(np.clip(clean + noise, 0, 255).astype(np.uint8)).noise
    assert found == pytest.approx(sigma, rel=0.25)


def test_a_dull_picture_spans_all_levels_again(clean: Image) -> None:
    dull = (100 + clean / 255 * 40 * np.array([1.0, 0.8, 0.6])).astype(np.uint8)
    assert measure(dull).span < 45
    again = condition_image(dull, 0.0)
    for channel in range(3):
        low, high = np.percentile(again[..., channel], (2, 98))
        assert low < 30
        assert high > 225


def test_a_picture_of_one_colour_stays_finite() -> None:
    flat = np.full((60, 80, 3), 7, np.uint8)
    assert condition_image(flat, 0.0).shape == flat.shape
    assert measure(flat).span == 0
    assert measure(np.zeros((3, 2, 3), np.uint8)).is_degraded


@pytest.mark.parametrize("cell", ["udc_t/5", "udc_p/5", "udc_dark/5"])
def test_a_face_behind_the_worst_display_is_found_again(clean: Image, cell: str) -> None:
    detector = open_detector("centerface", threads=1)
    box = detector.detect(clean).boxes[:1]
    seen = apply_panel(clean[None], find_panel(cell).at(127 / 48), np.random.default_rng(0))[0]
    assert (iou(box, ConditioningDetector(detector).detect(seen).boxes) >= 0.5).any()


def test_no_such_time() -> None:
    with pytest.raises(ValueError, match="condition 'often': give one of auto, always, never"):
        ConditioningDetector(Remembers(), "often")


@pytest.fixture(scope="module")
def centerface() -> ConditioningDetector:
    return ConditioningDetector(open_detector("centerface", threads=1))


@pytest.fixture(scope="module")
def group() -> Image:
    from insightface.data import get_image

    return np.ascontiguousarray(get_image("t1")[:, :, ::-1])


@pytest.mark.parametrize("spoilt", ["clear", "dim"])
def test_faces_around_known_ones_are_those_of_the_whole_image(
    centerface: ConditioningDetector, group: Image, spoilt: str
) -> None:
    """Of six faces, four at a time, each known 0.2 of its side beside its place."""
    image = group if spoilt == "clear" else (group // 5 + 90).astype(np.uint8)
    whole, conditioning = centerface.detect_whole(RgbImage(image), again=True)
    assert (conditioning.levels is not None) == (spoilt == "dim")
    assert len(whole) == 6
    moves = np.random.default_rng(0).uniform(-0.2, 0.2, (6, 2)).astype(np.float32)
    known = whole.boxes + np.tile(moves * (whole.boxes[:, 2:] - whole.boxes[:, :2]), 2)
    for rows in ([0, 1, 2, 3], [2, 3, 4, 5], [5]):
        found = centerface.detect_around(RgbImage(image), known[rows], conditioning)
        assert found is not None
        assert (iou(whole.boxes[rows], found[0].boxes).max(axis=1) > 0.75).all()
        assert (iou(found[0].boxes, whole.boxes).max(axis=1) > 0.75).all()


@pytest.mark.parametrize("dx", range(0, 33, 4))
def test_a_face_is_found_wherever_the_grid_of_the_network_lies(
    centerface: ConditioningDetector, clean: Image, dx: int
) -> None:
    image = RgbImage(np.ascontiguousarray(np.roll(clean, dx, axis=1)))
    whole, conditioning = centerface.detect_whole(image, again=False)
    found = centerface.detect_around(image, whole.boxes[:1], conditioning)
    assert found is not None
    assert iou(whole.boxes[:1], found[0].boxes).max() > 0.8


def test_an_image_as_a_whole_is_detected_as_before(
    centerface: ConditioningDetector, clean: Image, dim: Image, group: Image
) -> None:
    for image in (clean, dim, group):
        faces, _ = centerface.detect_whole(RgbImage(image.copy()), again=True)
        wanted = centerface.detect(image)
        assert len(faces) == len(wanted)
        assert (iou(faces.boxes, wanted.boxes).max(axis=1) > 0.9).all()


def test_where_the_whole_image_must_be_searched(
    centerface: ConditioningDetector, clean: Image
) -> None:
    noise = np.random.default_rng(1).normal(0, 20, clean.shape)
    noisy = RgbImage(np.clip(clean + noise, 0, 255).astype(np.uint8))
    box = np.array([[180, 60, 270, 180]], np.float32)
    faces, conditioning = centerface.detect_whole(noisy, again=True)
    assert conditioning.is_noisy
    assert len(faces) == 1
    assert centerface.detect_around(noisy, box, conditioning) is None
    image = RgbImage(clean.copy())
    assert centerface.detect_around(image, np.repeat(box, 12, axis=0), Conditioning()) is None
    blind = ConditioningDetector(Remembers())
    assert blind.detect_around(image, box, Conditioning()) is None


def test_another_scale_is_tried_only_where_that_is_wanted(clean: Image) -> None:
    class Blind(Remembers):
        sizes = (128, 181)

        def detect_unscaled(self, image: Image) -> Faces:
            return super().detect(image)

    for again, sides in ((True, [128, 181]), (False, [128])):
        detector = Blind()
        ConditioningDetector(detector).detect_whole(RgbImage(clean.copy()), again)
        assert [max(shown.shape) for shown in detector.shown] == sides
