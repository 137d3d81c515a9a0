"""A display in numbers: nothing without one, and all that tells two displays apart."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from models.udc.description import FEATURES, describe_panels
from models.udc.suites import BARE, P_OLED, PANELS, REAL_P_OLED, T_OLED
from trainer.inputs import sample_panel
from trainer.presets import REAL_PANELS


def test_no_display_is_described_by_zeros() -> None:
    assert describe_panels([None, None]).tolist() == [[0] * FEATURES] * 2
    assert describe_panels([]).shape == (0, FEATURES)
    assert describe_panels([BARE]).tolist() == [[1] + [0] * (FEATURES - 1)]


def test_a_display_is_described_by_what_it_does_to_light() -> None:
    (found,) = describe_panels([P_OLED[4]])
    noise = 5 / math.sqrt(4005 * 0.029)
    assert found == pytest.approx([1, 0.971, 0.52, 0.52, 3.2 / 5, noise, 0], abs=1e-5)
    assert describe_panels([REAL_P_OLED])[0, -1] == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("suite", ["udc_t", "udc_p", "udc_noise"])
def test_every_severity_has_a_description_of_its_own(suite: str) -> None:
    found = describe_panels(PANELS[suite])
    assert len({row.tobytes() for row in found}) == 5


def test_random_displays_stay_near_one() -> None:
    rng = np.random.default_rng(0)
    found = describe_panels([sample_panel(REAL_PANELS, rng) for _ in range(2000)])
    assert np.isfinite(found).all()
    assert 0 <= found.min() <= found.max() < 2
    assert (found.std(axis=0)[1:] > 0.02).all()


def test_without_noise_there_is_none_in_the_description() -> None:
    assert describe_panels([replace(T_OLED[0], white_e=math.inf)])[0, 5] == 0
