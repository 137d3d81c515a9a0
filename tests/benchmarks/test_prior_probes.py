"""A network with a trunk is also probed without its prior."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmarks.prior_use import build_probes
from models.lrdif.network import LRDif
from models.lrdif.trunk import ModulatedResNet

SMALL: dict[str, Any] = {"prior": 12, "input_px": 16, "widths": [8, 16, 32], "width": 16}


def test_probes_of_a_trunk() -> None:
    torch.manual_seed(0)
    network = LRDif(8, trunk=8, prior=12, input_px=16).eval()
    assert isinstance(network.former, ModulatedResNet)
    network.trust.fill_(0.7)
    for film in network.former.films:
        assert isinstance(film, nn.Linear)
        nn.init.normal_(film.weight, std=0.5)
    x, starts = torch.randn(4, 1, 16, 16), torch.randn(4, 4, 12)
    with torch.inference_mode():
        found = {name: probe(x, starts) for name, probe in build_probes(network).items()}
        assert torch.equal(found["no Z"], network.former(x))
        assert torch.equal(found["as it serves"], network(x, starts[0]))
    for name in ("Z of another face", "no Z"):
        assert not torch.equal(found[name], found["as it serves"])


def test_other_networks_always_have_a_prior() -> None:
    assert "no Z" not in build_probes(LRDif(8, **SMALL))
