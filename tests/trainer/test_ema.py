"""The average follows the weights, forgets its start, and is no alias of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trainer.optimisation import MovingAverage


def network(level: float) -> nn.Module:
    made = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.fill_(level)
    return made


def test_the_average_of_a_constant_is_the_constant() -> None:
    constant = network(0.3)
    average = MovingAverage(constant, 0.99)
    for step in range(50):
        average.update(constant, step)
    for name, value in constant.state_dict().items():
        assert torch.equal(average.state[name], value)


def test_the_start_is_soon_forgotten() -> None:
    average = MovingAverage(network(1.0), 0.9)
    zero, wanted = network(0.0), 1.0
    for step in range(40):
        average.update(zero, step)
        wanted *= min(0.9, (1 + step) / (10 + step))
        assert float(average.state["0.bias"][0]) == pytest.approx(wanted, abs=1e-6)
    assert wanted < 1e-4


def test_counters_are_copied_and_the_network_is_left_alone() -> None:
    counted = network(1.0)
    average = MovingAverage(counted, 0.9)
    counted(torch.randn(4, 2))
    before = {name: value.clone() for name, value in counted.state_dict().items()}
    average.update(counted, 0)
    assert average.state["1.num_batches_tracked"] == 1
    assert average.state["1.num_batches_tracked"].dtype == torch.int64
    average.state["0.weight"].fill_(7)
    assert all(torch.equal(before[name], value) for name, value in counted.state_dict().items())


def test_a_stored_average_goes_on() -> None:
    first = MovingAverage(network(0.25), 0.9)
    second = MovingAverage(network(1.0), 0.9)
    second.load(first.state)
    second.update(network(0.5), 100)
    assert float(second.state["0.weight"][0, 0]) == pytest.approx(0.9 * 0.25 + 0.1 * 0.5)
    assert float(first.state["0.weight"][0, 0]) == 0.25
