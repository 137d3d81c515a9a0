"""Linear light is the light of the simulated displays, and every level comes back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.light import to_linear_light, to_srgb
from models.udc import panel


def test_every_level_there_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)
    light = to_linear_light(levels)
    wanted = panel.to_linear(torch.arange(256).double() / 255).numpy()
    assert light[0, :, 0] == pytest.approx(wanted, abs=1e-6)
    assert np.array_equal(to_srgb(light), levels)


@pytest.mark.parametrize("light", [0.0, 0.001, 0.003, 0.0032, 0.18, 0.5, 1.0])
def test_light_between_the_levels(light: float) -> None:
    wanted = panel.to_srgb(torch.tensor([light], dtype=torch.float64)).item() * 255
    assert to_srgb(np.full((2, 2), light, np.float32)) == pytest.approx(wanted, abs=0.5)


def test_light_outside_is_cut() -> None:
    assert to_srgb(np.float32([-0.5, 1.5])).tolist() == [0, 255]
