"""What a classifier says has one shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.scores import EmotionScores, normalised_entropy


@pytest.mark.parametrize(
    ("probabilities", "uncertainty"), [((3, 8), (2,)), ((8,), (8,)), ((3, 8), (3, 1))]
)
def test_scores_that_do_not_fit(
    probabilities: tuple[int, ...], uncertainty: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="expected"):
        EmotionScores(np.zeros(probabilities, np.float32), np.zeros(uncertainty, np.float32))


def test_length_is_faces() -> None:
    assert len(EmotionScores(np.zeros((3, 8), np.float32), np.zeros(3, np.float32))) == 3


@given(st.integers(2, 12))
def test_entropy_by_hand(k: int) -> None:
    even, sure = np.full(k, 1 / k, np.float32), np.eye(k, dtype=np.float32)[0]
    two = np.zeros(k, np.float32)
    two[:2] = 0.5
    wanted = [1.0, 0.0, np.log(2) / np.log(k)]
    found = normalised_entropy(np.stack([even, sure, two]))
    assert found.dtype == np.float32
    assert found == pytest.approx(wanted, abs=1e-6)
