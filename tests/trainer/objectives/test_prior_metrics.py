"""Cosines of a restored prior, against made ones whose cosine is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from trainer.objectives.lrdif.prior_metrics import cosine, mean_of, partial_cosine

N, C, K = 400, 64, 4
CLASSES = torch.arange(N) % K


def directions(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(
        torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1
    )


def mixed(target: Tensor, rho: float, seed: int = 9) -> Tensor:
    """Vectors at a cosine of rho with the target, in an otherwise random direction."""
    other = directions(*target.shape, seed=seed)
    other = functional.normalize(other - (other * target).sum(1, keepdim=True) * target, dim=1)
    return rho * target + math.sqrt(1 - rho**2) * other


@pytest.mark.parametrize("rho", [-1.0, 0.0, 0.6, 1.0])
def test_a_cosine_that_is_known(rho: float) -> None:
    target = directions(N, C)
    assert float(cosine(5 * mixed(target, rho), target)) == pytest.approx(rho, abs=1e-9)


def test_where_r2_is_zero_the_cosine_is_not() -> None:
    """A code of K orthogonal classes, as Z is in stage 1: with m the share of its power in the
    mean, R^2 = 1 - (2 - 2 rho) / (1 - m), and 0 already means more than the constant guess."""
    target = torch.eye(C, dtype=torch.float64)[CLASSES]
    m = float(target.mean(dim=0).square().sum())
    rho = 1 - (1 - m) / 2
    z = mixed(target, rho)
    r2 = 1 - (z - target).square().sum() / (target - target.mean(dim=0)).square().sum()
    constant = target.mean(dim=0).expand_as(target)
    assert float(r2) == pytest.approx(0, abs=1e-9)
    assert float(cosine(z, target)) == pytest.approx(rho)
    assert float(cosine(constant, target)) == pytest.approx(math.sqrt(m))
    assert math.sqrt(m) < rho


def test_the_partial_cosine_is_what_z_says_beyond_the_label() -> None:
    """Targets of a class vector and something of the face, whose mean over each class is 0."""
    own = directions(N // 2, C)
    own = torch.cat([own, -own])  # pairs of one class: N / 2 is a multiple of K
    of_class = 3 * directions(K, C, seed=1)[CLASSES]
    target = of_class + own
    label_alone = of_class + 1e-3 * directions(N, C, seed=2)
    assert float(cosine(label_alone, target)) > 0.9
    assert abs(float(partial_cosine(label_alone, target, CLASSES))) < 4 / math.sqrt(N * C)
    restored = of_class + mixed(own, 0.6)
    assert float(partial_cosine(restored, target, CLASSES)) == pytest.approx(0.6, abs=1e-9)


def test_a_face_alone_in_its_class_does_not_count() -> None:
    target = directions(5, C)
    classes = torch.tensor([0, 0, 0, 0, 3])
    z = target.clone()
    z[4] = -z[4]
    assert float(partial_cosine(z, target, classes)) == pytest.approx(1)
    alone = partial_cosine(z[4:], target[4:], classes[4:])
    assert math.isnan(float(alone))
    assert mean_of([alone, torch.tensor(0.5), torch.tensor(0.25)]) == 0.375
