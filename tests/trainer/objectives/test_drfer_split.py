"""The class-dependent mixture tells noise from hard classes, and keeps labels where it cannot."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from trainer.objectives.drfer.split import select_clean, split_clean

OFFSETS = torch.tensor([0.2, 1.5, 3.0])


def make_losses(seed: int, sizes: tuple[int, ...] = (2000, 2000, 2000)) -> tuple[Tensor, ...]:
    """Losses of three classes, one harder than the other; a fifth of the labels of each is wrong,
    and costs 1.2 more."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.repeat_interleave(torch.arange(3), torch.tensor(sizes))
    is_wrong = torch.rand(len(classes), generator=generator) < 0.2
    noise = 0.2 * torch.randn(len(classes), generator=generator)
    return OFFSETS[classes] + 1.2 * is_wrong + noise, classes, is_wrong


@pytest.mark.parametrize("seed", range(3))
def test_by_class_it_is_nearly_perfect_where_one_mixture_is_not(seed: int) -> None:
    losses, classes, is_wrong = make_losses(seed)
    right = (~is_wrong).numpy()
    own, one = (split_clean(losses, classes, 3, per_class) for per_class in (True, False))
    assert roc_auc_score(right, own) >= 0.99
    assert roc_auc_score(right, own) >= roc_auc_score(right, one) + 0.03
    assert ((own > 0.5).numpy() == right).mean() >= 0.98


def test_a_rare_class_reads_the_mixture_of_all() -> None:
    losses, classes, is_wrong = make_losses(0, (2000, 2000, 60))
    rare = classes == 2
    p = split_clean(losses, classes, 3)
    assert roc_auc_score((~is_wrong)[rare], p[rare]) >= 0.98
    assert np.allclose(p[:4000], split_clean(losses[:4000], classes[:4000], 3))


def test_labels_are_kept_where_the_mixture_tells_nothing() -> None:
    losses = torch.cat([torch.full((300,), 0.5), torch.randn(300) * 1e-3 + 2, torch.ones(1)])
    losses[300] = 60.0  # one outlier: on a scale of 0 to 1 all others are one lump
    classes = torch.cat([torch.zeros(300), torch.ones(301)]).long()
    p = split_clean(losses, classes, 3)
    assert (p[:300] == 1).all()
    assert p[301:].min() > 0.5


def test_a_class_that_would_be_mostly_noise_is_rather_hard_unless_it_is_plain() -> None:
    noise = torch.randn(600, generator=torch.Generator().manual_seed(0))
    classes = torch.zeros(600).long()
    is_low = torch.arange(600) < 60
    plain = split_clean(torch.where(is_low, 0.2, 1.4) + 0.1 * noise, classes, 1)
    assert torch.equal(plain > 0.5, is_low)
    is_low = torch.arange(600) < 120  # a few easy faces among hard ones
    hard = torch.where(is_low, 0.6 + 0.7 * noise, 1.6 + 0.25 * noise)
    assert (split_clean(hard, classes, 1) == 1).all()


def test_a_lower_loss_is_never_less_clean() -> None:
    """A narrow component of clean faces and a wide one of others, which reaches below it."""
    generator = torch.Generator().manual_seed(0)
    losses = torch.cat(
        [
            1 + 0.1 * torch.randn(600, generator=generator),
            2 + 0.8 * torch.randn(400, generator=generator),
        ]
    )
    p = split_clean(losses, torch.zeros(1000).long(), 1)
    assert (p[losses.argsort()].diff() <= 1e-6).all()
    assert p[losses.argmin()] > 0.9
    assert p[losses.argmax()] < 0.1


def test_some_of_every_class_are_clean() -> None:
    p = torch.cat([torch.linspace(0, 0.5, 100), torch.linspace(0, 1, 100), torch.ones(10)])
    classes = torch.cat([torch.zeros(100), torch.ones(100), torch.full((10,), 3)]).long()
    is_clean = select_clean(p, classes, 4, 0.6)
    assert torch.equal(is_clean[:100], torch.arange(100) >= 90)
    assert torch.equal(is_clean[100:200], p[100:200] > 0.6)
    assert is_clean[200:].all()


def test_it_is_the_same_every_time() -> None:
    losses, classes, _ = make_losses(4)
    assert torch.equal(split_clean(losses, classes, 3), split_clean(losses, classes, 3))
