"""A ResNet-18 that Z modulates: at the start the plain network, and without Z always."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from models.baselines.resnet import ResidualBlock, ResNet18
from models.crops import Crops
from models.errors import ModelError
from models.loading import build_network, fold_batch_norm, load_classifier, load_network
from models.lrdif.classifier import LRDifClassifier
from models.lrdif.network import LRDif
from models.lrdif.prior import epr_norm
from models.lrdif.trunk import LRDifWithTwin, ModulatedResNet, corrupt, weigh
from models.weights import ModelCard, save

TRUNK: dict[str, Any] = {"trunk": 8, "prior": 12, "input_px": 16, "dropout": 0.0}


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def open_films(network: LRDif, trust: float = 0.7) -> ModulatedResNet:
    """Modulation as after training: no longer zero."""
    assert isinstance(network.former, ModulatedResNet)
    with torch.no_grad():
        network.trust.fill_(trust)
        for film in network.former.films:
            assert isinstance(film, nn.Linear)
            film.weight.normal_(std=0.3)
    return network.former


@pytest.fixture
def make_trunk() -> Callable[..., LRDif]:
    """An LRDif with a trunk, its statistics far from their start, not yet modulated; the same at
    every call. Keyword arguments change its settings."""

    def make(**changes: Any) -> LRDif:
        torch.manual_seed(0)
        network = LRDif(8, **(TRUNK | changes))
        with torch.no_grad():
            for _ in range(4):
                network(2 * torch.randn(16, 1, 16, 16), torch.randn(16, network.prior))
        return network.eval()

    return make


MakeTrunk = Callable[..., LRDif]


def test_modulation_by_hand() -> None:
    torch.manual_seed(0)
    block, x, film = ResidualBlock(4, 4, 1).eval(), randn(2, 4, 6, 6), randn(2, 8, seed=1)
    inner = block.norm2(block.conv2(torch.relu(block.norm1(block.conv1(x)))))
    scale, shift = film[:, :4, None, None], film[:, 4:, None, None]
    torch.testing.assert_close(block(x, film), torch.relu(x + inner * (1 + scale) + shift))
    assert torch.equal(block(x, torch.zeros(2, 8)), block(x))


def test_with_the_zoos_weights_it_starts_as_the_plain_network() -> None:
    """Bitwise, whatever Z is and however far it is trusted."""
    plain, card = load_network("resnet18-w36-udc")
    assert isinstance(plain, ResNet18)
    torch.manual_seed(0)
    network = LRDif(len(card.labels), trunk=36, prior=64).eval()
    missing = network.former.load_state_dict(plain.state_dict(), strict=False)
    assert missing.unexpected_keys == []
    assert {name.partition(".")[0] for name in missing.missing_keys} == {"films"}
    x, start = randn(4, 1, 48, 48), randn(4, 64, seed=1)
    for trust in (0.0, 0.6, 1.0):
        network.trust.fill_(trust)
        assert torch.equal(network(x, start), plain(x))


def test_it_costs_what_the_plain_network_costs() -> None:
    def gmac(network: nn.Module, *inputs: Tensor) -> float:
        counter = FlopCounterMode(display=False)
        with counter:
            network(*inputs)
        return counter.get_total_flops() / 2e9

    with torch.device("meta"):
        face = torch.empty(1, 1, 48, 48)
        ours = gmac(LRDif(8, trunk=36, prior=64), face, torch.empty(1, 64))
        plain = gmac(ResNet18(8, 36, 2), face)
    assert plain < ours < 1.005 * plain


def test_the_first_half_does_not_see_z_and_the_second_does(make_trunk: MakeTrunk) -> None:
    network = make_trunk()
    former = open_films(network)
    x, z = randn(4, 1, 16, 16), epr_norm(randn(4, 12, seed=1))
    maps = former.encode(x)
    assert maps.shape == (4, 16, 4, 4)
    assert former.summarise(maps).shape == (4, former.features)
    one, other = (former.classify(maps, weigh(v, torch.ones(()))) for v in (z, z.flip(0)))
    assert (one - other).abs().max() > 1e-3


def test_trust_0_is_the_network_without_z(make_trunk: MakeTrunk) -> None:
    network = make_trunk()
    former = open_films(network, trust=0.0)
    x, start = randn(4, 1, 16, 16), randn(4, 12, seed=1)
    assert torch.equal(network(x, start), former(x))
    encoded, features = network.encode(x)
    z = network.restorer(features, start)
    network.trust.fill_(0.7)
    some = torch.tensor([[0.7], [0], [0.7], [0]])
    logits = network.classify(encoded, z, some)
    torch.testing.assert_close(logits[1::2], former(x)[1::2])
    torch.testing.assert_close(logits[::2], network(x, start)[::2])
    assert (logits[::2] - former(x)[::2]).abs().max() > 1e-3


def test_noise_leaves_of_z_what_trust_says() -> None:
    z, noise = epr_norm(randn(4000, 64)), randn(4000, 64, seed=1)
    for trust in (0.3, 0.6, 1.0):
        found = corrupt(z, torch.full((4000, 1), trust), noise)
        cosine = torch.nn.functional.cosine_similarity(found, z, dim=1)
        assert float(cosine.mean()) == pytest.approx(trust, abs=0.01)
        torch.testing.assert_close(found, epr_norm(found), atol=1e-4, rtol=0)


def test_every_parameter_learns(make_trunk: MakeTrunk) -> None:
    network = make_trunk().train()
    open_films(network)
    network(randn(4, 1, 16, 16), randn(4, 12, seed=1)).square().sum().backward()
    assert [name for name, v in network.named_parameters() if v.grad is None] == []
    assert network.restorer.denoiser is not None
    assert network.restorer.denoiser.layers[0].weight.grad.abs().max() > 0  # type: ignore[union-attr]


@pytest.mark.parametrize("label", [False, True])
def test_z_of_the_twin(make_trunk: MakeTrunk, label: bool) -> None:
    torch.manual_seed(0)
    former = make_trunk().former
    assert isinstance(former, ModulatedResNet)
    stage_one = LRDifWithTwin(former, 20, 12, 8, label)
    features, shares = randn(4, 20), torch.eye(8)[:4]
    z = stage_one.z(features, shares)
    assert z.shape == (4, 12)
    torch.testing.assert_close(z, epr_norm(z), atol=0.01, rtol=0)
    assert torch.equal(z, stage_one.z(features)) != label
    torch.testing.assert_close(stage_one.z(features, 0 * shares), stage_one.z(features))
    assert any("label" in name for name, _ in stage_one.named_parameters()) == label


def test_it_serves_from_a_file_as_it_was_saved(
    tmp_path: Path, make_card: Callable[..., ModelCard], make_trunk: MakeTrunk, crops: Crops
) -> None:
    network = make_trunk()
    open_films(network)
    card = make_card(model="lrdif", network=TRUNK, input_px=16)
    save(tmp_path / "w.safetensors", card, network.state_dict())
    loaded = load_classifier(str(tmp_path / "w.safetensors"))
    assert isinstance(loaded, LRDifClassifier)
    assert loaded.mode == "lrdif-4-flip"
    ids = np.arange(5)
    wanted = LRDifClassifier(network, card).predict(crops, ids).probabilities
    found = loaded.predict(crops, ids).probabilities
    np.testing.assert_allclose(found, wanted, atol=2e-3)  # float16 in the file
    network.trust.fill_(0)
    without = LRDifClassifier(network, card).predict(crops, ids).probabilities
    assert abs(found - without).max() > 0.01


def test_folding_keeps_the_modulated_logits(make_trunk: MakeTrunk) -> None:
    network = make_trunk()
    open_films(network)
    x, start = randn(4, 1, 16, 16), randn(4, 12, seed=1)
    before = network(x, start)
    torch.testing.assert_close(fold_batch_norm(network)(x, start), before, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("changes", [{"input_px": 24}, {"norm": False}, {"clip": "some"}], ids=str)
def test_settings_that_cannot_be(
    make_card: Callable[..., ModelCard],
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
) -> None:
    monkeypatch.setattr("models.lrdif.network.ClipEncoders", lambda name: name)
    with pytest.raises(ValueError, match="trunk: give no clip, norm, and input_px a multiple"):
        LRDif(8, **(TRUNK | changes))
    with pytest.raises(ModelError, match="lrdif cannot be built from"):
        build_network(make_card(model="lrdif", network=TRUNK | changes, input_px=16))


def test_older_networks_have_no_new_weights() -> None:
    with torch.device("meta"):
        network = LRDif(8)
    parts = {name.partition(".")[0] for name in network.state_dict()}
    assert parts == {"encoder", "restorer", "former"}
