"""Dropping emotions on the way: what it costs is counted exactly, and how often it errs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.emodc.pruning import (
    LEVEL,
    Tally,
    check_steps,
    drop_by_test,
    evaluate_all,
    halve,
    halving_rounds,
    t_quantile,
)


def tally_of(errors: Tensor) -> Tally:
    """Of errors (steps, n, K) that are known beforehand, those not needed wiped out."""

    def evaluate(step: int, active: Tensor) -> Tensor:
        return torch.where(active, errors[step], torch.inf)

    return Tally(evaluate, *errors.shape)


@pytest.fixture
def errors() -> Tensor:
    """100 timesteps of 40 faces under eight emotions that differ."""
    generator = torch.Generator().manual_seed(1)
    means = torch.rand(1, 40, 8, generator=generator)
    return means + 0.3 * torch.randn(100, 40, 8, generator=generator)


@pytest.mark.parametrize(
    ("rounds", "cost"),
    [
        (((8, 4), (24, 2), (100, 1)), 280),
        (((4, 4), (8, 2), (16, 1)), 64),
        (((100, 8),), 800),
    ],
)
def test_halving_costs_what_the_formula_says(
    errors: Tensor, rounds: tuple[tuple[int, int], ...], cost: int
) -> None:
    tally = halve(tally_of(errors), rounds)
    left, before, formula = 8, 0, 0
    for step, kept in rounds:
        formula, left, before = formula + left * (step - before), kept, step
    assert formula == cost
    assert tally.evaluations.tolist() == [cost] * 40
    assert tally.active.sum(dim=1).tolist() == [rounds[-1][1]] * 40


def test_keeping_all_is_the_full_evaluation(errors: Tensor) -> None:
    full, kept = evaluate_all(tally_of(errors)), halve(tally_of(errors), [(50, 8), (100, 8)])
    means = errors.mean(dim=0)
    torch.testing.assert_close(full.excess(), means - means.amin(dim=1, keepdim=True))
    assert torch.equal(kept.best(), full.best())
    assert torch.equal(kept.evaluations, full.evaluations)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_halving_of_few_steps_drops_nothing_unseen(errors: Tensor, steps: int) -> None:
    few = errors[:steps]
    halved = halve(tally_of(few), halving_rounds(steps, 8))
    assert not halved.excess().isnan().any()
    if steps == 1:
        assert torch.equal(halved.best(), few[0].argmin(dim=1))


def test_halving_mostly_agrees_and_never_revives(errors: Tensor) -> None:
    full, halved = evaluate_all(tally_of(errors)), halve(tally_of(errors), halving_rounds(100, 8))
    assert (halved.best() == full.best()).float().mean() > 0.9
    assert torch.equal(halved.excess().argmin(dim=1), halved.best())


def test_a_dropped_emotion_is_never_the_prediction() -> None:
    """Not even one whose early errors were lower than what is left had in the end."""
    errors = torch.tensor([[[0.0, 0.1, 0.2]], [[9.0, 0.9, 0.2]]])
    tally = halve(tally_of(errors), [(1, 2), (2, 1)])
    assert tally.best().tolist() == [1]
    assert tally.excess().argmin(dim=1).tolist() == [1]
    assert (tally.excess()[0, [0, 2]] > 0).all()


def test_emotions_that_are_the_same_are_dropped_no_more_often_than_the_level() -> None:
    runs, level = 40_000, 0.02
    generator = torch.Generator().manual_seed(2)
    shared = torch.randn(100, runs, 1, generator=generator)
    errors = shared + torch.randn(100, runs, 8, generator=generator)
    tally = drop_by_test(tally_of(errors), check_steps(100), level)
    dropped = 1 - float(tally.active[:, 3].float().mean())
    assert dropped <= level + 3 * (level * (1 - level) / runs) ** 0.5
    assert dropped > 0  # a test that drops nothing would be as rare


def test_the_paired_test_saves_evaluations_of_emotions_that_differ(errors: Tensor) -> None:
    full, tested = evaluate_all(tally_of(errors)), drop_by_test(tally_of(errors), check_steps(100))
    assert torch.equal(tested.best(), full.best())
    assert tested.evaluations.float().mean() < 500
    assert int(tested.evaluations.sum()) == int((~tested.errors.isnan()).sum())


def test_ties_go_to_the_first() -> None:
    tally = drop_by_test(tally_of(torch.ones(20, 3, 4)), check_steps(20), LEVEL)
    assert tally.active.all()
    assert tally.best().tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("probability", "freedom", "table"),
    [(0.95, 1, 6.314), (0.975, 10, 2.228), (0.999, 19, 3.579), (0.9995, 99, 3.392)],
)
def test_quantiles_are_those_of_the_table(probability: float, freedom: int, table: float) -> None:
    assert t_quantile(probability, freedom) == pytest.approx(table, abs=2e-3)
