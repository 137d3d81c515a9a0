"""Margins, and the signs of what the hinge pulls at."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from trainer.data.faceset import FaceSet
from trainer.objectives.emodc.amdit import (
    MARGIN_BINS,
    MarginRule,
    MarginStatistics,
    discrepancy,
    margins,
    permute_within,
)
from trainer.samples import SampleTable

LABELS = torch.tensor([0, 2, 1])


@pytest.fixture
def errors() -> Tensor:
    """Of three faces under three emotions: the hinge of the first is active for emotion 1 alone."""
    rows = [[0.30, 0.31, 0.90], [0.20, 0.21, 0.20], [0.5, 0.1, 0.5]]
    return torch.tensor(rows, requires_grad=True)


def gradient(errors: Tensor, rule: MarginRule, margin: Tensor) -> tuple[Tensor, Tensor]:
    right = errors[torch.arange(3), LABELS]
    is_wrong = functional.one_hot(LABELS, 3) == 0
    each, is_active = discrepancy(errors, right, is_wrong, margin, rule)
    (found,) = torch.autograd.grad(each.sum(), errors)
    return found, is_active


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_the_gradient_of_the_hinge(errors: Tensor, detached: bool, weight: float) -> None:
    rule = MarginRule("fixed", 0.05, detached=detached, weight=weight)
    found, is_active = gradient(errors, rule, torch.full((3,), 0.05))
    assert is_active.sum(dim=1).tolist() == [1, 2, 0]
    for row, label in enumerate(LABELS.tolist()):
        active = int(is_active[row].sum())
        right = 1 if detached else 1 + weight * active / 2
        assert float(found[row, label]) == pytest.approx(right)
        for emotion in {0, 1, 2} - {label}:
            wrong = -weight / 2 if is_active[row, emotion] else 0
            assert float(found[row, emotion]) == pytest.approx(wrong)


def test_the_loss_is_the_formula(errors: Tensor) -> None:
    rule, right = MarginRule("fixed", 0.05), errors[torch.arange(3), LABELS]
    is_wrong = functional.one_hot(LABELS, 3) == 0
    each, _ = discrepancy(errors, right, is_wrong, torch.full((3,), 0.05), rule)
    expected = [0.30 + 0.04 / 2, 0.20 + (0.05 + 0.04) / 2, 0.1]
    torch.testing.assert_close(each, torch.tensor(expected))


@pytest.mark.parametrize("detached", [True, False])
def test_it_is_diffusion_itms_loss_with_the_margin_of_the_right_error(
    errors: Tensor, detached: bool
) -> None:
    """e_y - min(e_k, l sg(e_y)) of one wrong emotion: the margin (l - 1) e_y, e_y detached."""
    factor = 1.1
    right, wrong = errors[:, 0], errors[:, 1]
    itm = right - torch.minimum(wrong, factor * right.detach())
    (theirs,) = torch.autograd.grad(itm.sum(), errors, retain_graph=True)
    rule = MarginRule("a1", factor - 1, detached=detached)
    margin = margins(rule, right, right, torch.zeros(3, dtype=torch.long), MarginStatistics())
    is_wrong = torch.tensor([[False, True, False]]).expand(3, 3)
    each, is_active = discrepancy(errors, right, is_wrong, margin, rule)
    (ours,) = torch.autograd.grad(each.sum(), errors)
    assert is_active.any()
    assert torch.equal(ours, theirs) == detached


@pytest.fixture
def measured() -> MarginStatistics:
    """Of a Base model whose errors fall from bin to bin."""
    statistics = MarginStatistics()
    grid = torch.arange(1.0, MARGIN_BINS + 1)
    statistics.ratio.copy_(grid / 100)
    statistics.gap.copy_(grid / 1000)
    statistics.empty.copy_(1 / grid)
    return statistics


RIGHT, EMPTY = torch.tensor([0.2, 0.4, 0.3]), torch.tensor([0.25, 0.45, 0.1])
BINS = torch.tensor([3, 3, 9])


def test_each_rule_is_its_formula(measured: MarginStatistics) -> None:
    g, mean = torch.tensor([0.04, 0.04, 0.10]), torch.tensor([0.25, 0.25, 0.1])
    for rule, expected in (
        (MarginRule("fixed", 0.03), torch.full((3,), 0.03)),
        (MarginRule("a1", 0.1), 0.1 * RIGHT),
        (MarginRule("a1", 0.5, measured=True), 0.5 * g * RIGHT),
        (MarginRule("a2", 0.5, measured=True), 0.5 * g * EMPTY),
        (MarginRule("a3", 0.5), 0.5 * torch.tensor([0.004, 0.004, 0.010])),
        (MarginRule("a4", 0.1, power=-1), 0.1 * mean**2 / EMPTY),
    ):
        torch.testing.assert_close(margins(rule, RIGHT, EMPTY, BINS, measured), expected)
    wide = MarginRule("a4", 0.5, power=1, measured=True)
    same = MarginRule("a2", 0.5, measured=True)
    torch.testing.assert_close(
        margins(wide, RIGHT, EMPTY, BINS, measured), margins(same, RIGHT, EMPTY, BINS, measured)
    )
    # A hard image has the wide margin with 1, the narrow one with -1.
    hard, easy = margins(MarginRule("a4", 0.1, power=-1), RIGHT, EMPTY, BINS, measured)[:2]
    assert (hard > easy) == (EMPTY[0] < EMPTY[1])


@pytest.mark.parametrize("power", [1, -1])
def test_the_mean_over_visits_finds_how_hard_an_image_is(
    measured: MarginStatistics, make_faces: Callable[..., FaceSet], power: int
) -> None:
    """Errors are the noise level's mean times the image's difficulty times a draw: margins by one
    draw scatter by the draw, those by the mean over 40 visits at all noise levels hardly do."""
    generator = torch.Generator().manual_seed(0)
    table = SampleTable.of(make_faces(100))
    hard = torch.where(torch.arange(100) < 50, 0.7, 1.4)
    for _ in range(40):
        bins = torch.randint(MARGIN_BINS, (100,), generator=generator)
        draw = torch.exp(0.3 * torch.randn(100, generator=generator) - 0.045)
        empty = measured.empty[bins] * hard * draw
        table.measure_difficulty(measured.difficulties(empty, bins), torch.ones(100))
    bins = torch.full((100,), 5)
    empty = measured.empty[bins] * hard * draw
    found = {
        kind: margins(
            MarginRule("a4", 0.1, power=power, difficulty=kind),
            *(empty, empty, bins, measured, table.difficulty),
        )
        for kind in ("draw", "image")
    }
    exact = 0.1 * measured.empty[5] * hard**power
    error = {kind: float((each / exact - 1).abs().mean()) for kind, each in found.items()}
    assert error["image"] < 0.08 < 0.2 < error["draw"]
    wide, narrow = found["image"][50:], found["image"][:50]
    assert (wide.min() > narrow.max()) if power == 1 else (wide.max() < narrow.min())
    # The mean of few visits, then an exponential one: it forgets what the network was.
    assert table.visits.tolist() == [40.0] * 100
    table.measure_difficulty(torch.full((100,), 3.0), torch.ones(100))
    torch.testing.assert_close(table.difficulty[:50].mean(), torch.tensor(0.93), atol=0.05, rtol=0)


def test_only_a4_knows_of_images() -> None:
    with pytest.raises(ValueError, match="give draw, or of a4 also image"):
        MarginRule("a1", 0.1, difficulty="image")


def test_a3_depends_on_the_timestep_alone(measured: MarginStatistics) -> None:
    rule = MarginRule("a3", 0.5)
    assert torch.equal(
        margins(rule, RIGHT, EMPTY, BINS, measured),
        margins(rule, 2 * RIGHT, 3 * EMPTY, BINS, measured),
    )


@pytest.mark.parametrize("rule", ["fixed", "a1", "a2", "a3", "a4"])
def test_a_margin_has_bounds_and_no_gradient(rule: str, measured: MarginStatistics) -> None:
    right = RIGHT.clone().requires_grad_()
    found = margins(MarginRule(rule, 100.0), right, 2 * right, BINS, measured)
    assert not found.requires_grad
    assert float(found.max()) <= 1
    assert float(margins(MarginRule(rule, 1e-9), right, right, BINS, measured).min()) > 0


def test_permuted_margins_are_those_of_the_same_timestep() -> None:
    torch.manual_seed(0)
    values, bins = torch.rand(400), torch.randint(4, (400,))
    permuted = permute_within(values, bins)
    for number in range(4):
        ours, theirs = values[bins == number], permuted[bins == number]
        assert torch.equal(ours.sort().values, theirs.sort().values)
        assert abs(float(torch.corrcoef(torch.stack([ours, theirs]))[0, 1])) < 0.4
    assert (values != permuted).float().mean() > 0.9


def test_statistics_are_the_quantiles_of_each_timestep() -> None:
    statistics = MarginStatistics()
    errors = torch.tensor([[0.2, 0.21, 0.22, 0.24], [0.5, 0.6, 0.5, 0.5]])
    is_wrong = torch.tensor([[False, True, True, True], [False, True, True, True]])
    bins = torch.tensor([4, 7])
    statistics.update(errors, errors[:, 0], is_wrong, torch.tensor([0.3, 0.55]), bins)
    assert float(statistics.gap[4]) == pytest.approx(0.03)  # of 0.01, 0.02, 0.04 at 3/4
    assert float(statistics.ratio[4]) == pytest.approx(0.15)
    assert float(statistics.empty[7]) == pytest.approx(0.55)
    assert statistics.count.tolist() == [int(n in (4, 7)) for n in range(MARGIN_BINS)]
    statistics.update(errors, errors[:, 0], is_wrong, torch.tensor([0.8, 0.55]), bins)
    assert float(statistics.empty[4]) == pytest.approx(0.3 + 0.02 * 0.5)


@pytest.mark.parametrize("settings", [{"rule": "a5"}, {"gamma": 0.0}, {"weight": -1.0}])
def test_rules_that_cannot_be(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="give one of"):
        MarginRule(**({"rule": "a1", "gamma": 0.1} | settings))  # type: ignore[arg-type]
