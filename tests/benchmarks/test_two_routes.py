"""Two routes fused: the exact posterior of independent evidence, and who is asked again."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.two_routes import (
    Answers,
    choose_uncertain,
    compare,
    fit_linear,
    fit_log,
    fuse_linear,
    fuse_log,
)


def made(n: int, fast_noise: float, robust_noise: float, seed: int = 0) -> Answers:
    """Both routes see the class plus noise of their own, and know it: exact posteriors."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 4, n)
    each = []
    for noise in (fast_noise, robust_noise):
        seen = np.eye(4)[labels] + draw.normal(0, noise, (n, 4))
        likelihood = np.exp(seen / noise**2)
        each.append(likelihood / likelihood.sum(axis=1, keepdims=True))
    return Answers(each[0], each[1], draw.random(n) < 0.5, labels)


def test_independent_evidence_is_multiplied() -> None:
    a, b = fit_log(made(20_000, 0.8, 0.6))
    assert a == pytest.approx(1, abs=0.06)
    assert b == pytest.approx(1, abs=0.06)


def test_a_route_that_only_repeats_the_other_adds_nothing() -> None:
    same = made(5_000, 0.8, 0.8)
    same = Answers(same.fast, same.fast, same.degraded, same.labels)
    a, b = fit_log(same)
    assert a + b == pytest.approx(1, abs=0.06)
    assert (fuse_log(same, 0.5, 0.5).argmax(1) == same.fast.argmax(1)).all()


def test_a_route_that_knows_nothing_gets_no_weight() -> None:
    answers = made(5_000, 0.8, 0.8)
    other = np.roll(answers.robust, 1, axis=0)
    blind = Answers(answers.fast, other, answers.degraded, answers.labels)
    assert fit_log(blind)[1] < 0.05
    assert fit_linear(blind) <= 0.1


def test_both_together_are_better_where_their_errors_are_their_own() -> None:
    found = compare(made(5_000, 0.8, 0.8), {"a": made(5_000, 0.8, 0.8, 1)}, 0.1)
    gains = found["gains"]
    assert gains["log, all"][1] > 5
    assert 0 < gains["log, share"][0] < gains["log, all"][0]
    assert found["cells"]["a"]["fast"] < found["cells"]["a"]["log, all"]


def test_the_most_uncertain_are_asked_and_no_more_than_the_share() -> None:
    probabilities = np.array([[0.5, 0.5], [0.9, 0.1], [0.6, 0.4], [1.0, 0.0]])
    assert choose_uncertain(probabilities, 0.5).tolist() == [True, False, True, False]
    assert not choose_uncertain(probabilities, 0.0).any()


def test_the_linear_pool_is_the_weighted_mean() -> None:
    answers = made(10, 1.0, 1.0)
    expected = (answers.fast + 3 * answers.robust) / 4
    assert fuse_linear(answers, 3.0) == pytest.approx(expected)
