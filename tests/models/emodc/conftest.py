"""Small networks whose predictions differ between emotions, as trained ones do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from models.emodc.encoder import NoiseResNet18
from models.emodc.network import EmoDC
from models.weights import ModelCard

PX = 16
SMALL: dict[str, Any] = {"width": 8, "dropout": 0.0}


def disturb(network: nn.Module) -> nn.Module:
    """Layers that start at zero, and running statistics, moved away from their start."""
    torch.manual_seed(1)
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.05 * torch.randn_like(value))
        for _ in range(4):
            network(2 * torch.randn(8, 1, PX, PX), torch.rand(8) + 0.01)
    return network.eval()


@pytest.fixture
def make_emodc() -> Callable[..., EmoDC]:
    """The same at every call; keyword arguments change its settings."""

    def make(**changes: Any) -> EmoDC:
        torch.manual_seed(0)
        network = disturb(EmoDC(8, **(SMALL | changes)))
        assert isinstance(network, EmoDC)
        return network

    return make


@pytest.fixture
def make_encoder() -> Callable[..., NoiseResNet18]:
    """The encoder with its own classifier."""

    def make(**changes: Any) -> NoiseResNet18:
        torch.manual_seed(0)
        network = disturb(NoiseResNet18(8, **(SMALL | changes)))
        assert isinstance(network, NoiseResNet18)
        return network

    return make


@pytest.fixture
def emodc_card(make_card: Callable[..., ModelCard]) -> Callable[..., ModelCard]:
    """The card of that network."""

    def make(model: str = "emodc", **changes: Any) -> ModelCard:
        return make_card(model=model, network=SMALL | changes, input_px=PX)

    return make
