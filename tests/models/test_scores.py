"""Entropies by hand."""

from __future__ import annotations

import numpy as np
import pytest

from models.scores import mutual_information


def test_mutual_information_by_hand() -> None:
    """Two draws (0.9, 0.1) and (0.5, 0.5): their mean is (0.7, 0.3)."""
    each = np.float32([[[0.9, 0.1]], [[0.5, 0.5]]])

    def bits(p: float) -> float:
        return float(-p * np.log2(p) - (1 - p) * np.log2(1 - p))

    wanted = bits(0.7) - (bits(0.9) + bits(0.5)) / 2
    assert mutual_information(each) == pytest.approx([wanted], abs=1e-6)


def test_draws_that_agree_share_nothing_out() -> None:
    same = np.full((3, 4, 8), 1 / 8, np.float32)
    assert mutual_information(same).tolist() == [0] * 4
    assert mutual_information(same[:, :0]).shape == (0,)
