"""The network costs what is published of it, and every parameter of it learns."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.baselines.resnet import ResNet18


@pytest.mark.parametrize(
    ("width", "stem_stride", "px", "params_m", "gmac"),
    [
        (32, 2, 48, 2.80, 0.078),
        (32, 2, 112, 2.80, 0.42),
        (32, 1, 48, 2.80, 0.31),
        (35, 1, 48, 3.35, 0.373),
        (48, 1, 64, 6.29, 1.25),
        (64, 1, 48, 11.17, 1.25),
    ],
)
def test_published_cost(
    width: int, stem_stride: int, px: int, params_m: float, gmac: float
) -> None:
    with torch.device("meta"):  # shapes alone: nothing is computed
        network = ResNet18(8, width, stem_stride)
        counter = FlopCounterMode(display=False)
        with counter:
            network(torch.empty(1, 1, px, px))
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count / 1e6 == pytest.approx(params_m, rel=0.002)
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, rel=0.03)


@pytest.mark.parametrize("px", [32, 47, 48, 112])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_goes_in(px: int, channels: int) -> None:
    network = ResNet18(7, width=4, channels=channels)
    assert network(torch.zeros(2, channels, px, px)).shape == (2, 7)


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    network = ResNet18(8, width=8)
    network(torch.randn(4, 1, 48, 48)).square().sum().backward()
    idle = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert idle == []


def test_dropout_only_in_training() -> None:
    torch.manual_seed(0)
    network, x = ResNet18(8, width=4, dropout=0.5).eval(), torch.randn(2, 1, 32, 32)
    assert torch.equal(network(x), network(x))
    network.train()
    assert not torch.equal(network(x), network(x))
