"""A folded network answers as before, and has no normalisation left behind a convolution."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from models.loading import as_classifier, build_network, fold_batch_norm
from models.weights import ModelCard
from trainer.presets import find_preset

MakeCard = Callable[..., ModelCard]
NAMES = [("resnet18", "w36-40"), ("lrdif", "cpu"), ("lrdif", "s"), ("poster", "cpu")]


def seasoned(card: ModelCard) -> nn.Module:
    """A network whose normalisations have seen something, and are not all alike."""
    torch.manual_seed(0)
    network = build_network(card).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            n = module.num_features
            module.running_mean = torch.randn(n)
            module.running_var = torch.rand(n) + 0.5
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return network


@pytest.mark.parametrize(("model", "name"), NAMES)
def test_it_answers_as_before(model: str, name: str, make_card: MakeCard) -> None:
    network: Any = seasoned(make_card(model=model, network=find_preset(model, name).network))
    card = make_card(model=model, network=find_preset(model, name).network)
    ours = fold_batch_norm(copy.deepcopy(network))
    left = [module for module in ours.modules() if isinstance(module, nn.BatchNorm2d)]
    assert not left
    x, ids = torch.randn(5, 1, 48, 48), torch.arange(5).numpy()
    with torch.inference_mode():
        before, after = (as_classifier(each, card).logits(x, ids) for each in (network, ours))
    assert before.std() > 0.01
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)


def test_a_normalisation_elsewhere_stays() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4))
    kinds = [type(module) for module in fold_batch_norm(network)]
    assert kinds == [nn.BatchNorm2d, nn.Conv2d, nn.ReLU, nn.BatchNorm2d]
