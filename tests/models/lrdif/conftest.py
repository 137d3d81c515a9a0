"""The smallest LRDif that has every part, and the card that goes with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from models.lrdif.dynamic import Modulation
from models.lrdif.network import LRDif
from models.lrdif.prior import Denoiser
from models.weights import ModelCard

SMALL: dict[str, Any] = {
    "prior": 12,
    "input_px": 16,
    "widths": [8, 16, 32],
    "dt_widths": [8, 16, 32],
    "width": 16,
    "dropout": 0.0,
}


@pytest.fixture
def small() -> dict[str, Any]:
    """Settings of an LRDif for faces of 16 pixels."""
    return dict(SMALL)


@pytest.fixture
def small_card(make_card: Callable[..., ModelCard]) -> Callable[..., ModelCard]:
    """A card of that LRDif; keyword arguments change the network's settings."""

    def make(**changes: Any) -> ModelCard:
        return make_card(model="lrdif", network=SMALL | changes, input_px=16)

    return make


@pytest.fixture
def make_network() -> Callable[..., LRDif]:
    """That LRDif, its answers hanging on Z, and Z on its start; the same at every call. Keyword
    arguments change its settings."""

    def make(**changes: Any) -> LRDif:
        torch.manual_seed(0)
        network = LRDif(8, **(SMALL | changes))
        with torch.no_grad():
            for _ in range(4):  # running statistics far from their start
                network(2 * torch.randn(16, 1, 16, 16), torch.randn(16, network.prior))
            for part in network.modules():
                if isinstance(part, Modulation):
                    part.scale.weight.mul_(5)
                    part.shift.weight.mul_(5)
                if isinstance(part, Denoiser):
                    part.layers[0].weight[:, -network.prior :].mul_(5)  # type: ignore[index]
        return network.eval()

    return make
