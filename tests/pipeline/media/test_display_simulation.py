"""A display before the camera: harms a frame as its panel harms a tile, and alike each time."""

from __future__ import annotations

import numpy as np
import pytest

from models.udc.panel import apply_panel
from models.udc.suites import find_panel, noise_generator
from pipeline.errors import ConfigError
from pipeline.frames import Frame, FrameHeader
from pipeline.media.display_simulation import DisplaySimulation, cell_of, open_simulation


def a_frame(index: int) -> Frame:
    header = FrameHeader("door", "e0", index, 0.0, 0, 0, "media", 64, 48)
    return Frame(header, np.full((48, 64, 3), 128, np.uint8))


def test_a_frame_hangs_on_its_index_alone() -> None:
    display = open_simulation("p-oled", 3)
    first, second = display.apply(a_frame(0)), display.apply(a_frame(1))
    assert first.header == a_frame(0).header
    assert not np.array_equal(first.image, second.image)
    again = open_simulation("p-oled", 3)
    again.apply(a_frame(7))
    assert np.array_equal(again.apply(a_frame(1)).image, second.image)


def test_a_larger_face_is_a_finer_scale() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    seen = DisplaySimulation("udc_t/4", 96, "made")(picture, "5.1")
    noise = noise_generator("made", "5.1", "udc_t/4")
    assert np.array_equal(seen, apply_panel(picture[None], find_panel("udc_t/4").at(2), noise)[0])


def test_names() -> None:
    assert open_simulation("t-oled", 2, 96).name == "udc_t/2 at 96 px"
    assert cell_of("t-oled", 5) == "udc_t/5"
    assert cell_of("p-oled-real", 2) == "udc_real_p/2"
    with pytest.raises(ConfigError, match="no such panel: lcd: give t-oled or p-oled"):
        open_simulation("lcd", 3)
    for severity in (0, 6):
        with pytest.raises(ConfigError, match="no such severity"):
            cell_of("p-oled", severity)
    with pytest.raises(ValueError, match="no panel in 'gauss_blur_x1/1'"):
        DisplaySimulation("gauss_blur_x1/1", 192, "made")
    with pytest.raises(ConfigError, match="not a face height"):
        open_simulation("p-oled", 3, 0)
