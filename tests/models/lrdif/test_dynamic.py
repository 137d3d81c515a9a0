"""Modulation, transposed attention and the pyramid against slow references."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from models.lrdif.dynamic import (
    DGNet,
    DMNet,
    Double,
    DTNetwork,
    DynamicBlock,
    Halve,
    Modulation,
    channel_attention,
)

PRIOR = 6


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_modulation_of_one_and_nothing_is_plain_norm() -> None:
    """Eq. 2 with W1 Z = 1 and W2 Z = 0; W1 Z is counted from 1."""
    torch.manual_seed(0)
    block, f = Modulation(8, PRIOR), 3 + 2 * randn(2, 4, 4, 8)
    for layer in (block.scale, block.shift):
        nn.init.zeros_(layer.weight)
    torch.testing.assert_close(block(f, randn(2, PRIOR)), functional.layer_norm(f, (8,)))


def test_a_modulation_by_hand() -> None:
    torch.manual_seed(0)
    block, f, z = Modulation(8, PRIOR), randn(2, 4, 4, 8), randn(2, PRIOR, seed=1)
    found = block(f, z)
    for n in range(2):
        w1, w2 = 1 + block.scale.weight @ z[n], block.shift.weight @ z[n]
        torch.testing.assert_close(found[n], w1 * functional.layer_norm(f[n], (8,)) + w2)


def test_a_scale_starts_around_one() -> None:
    torch.manual_seed(0)
    scale = 1 + Modulation(64, 128).scale(randn(200, 128)).detach()
    assert float(scale.mean()) == pytest.approx(1, abs=0.02)
    assert 0.1 < float(scale.std()) < 0.3


def qkv(h: int = 2, c: int = 3, hw: int = 20) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    temperature = torch.tensor([0.7, 2.5]).view(2, 1, 1)
    return randn(4, h, c, hw), randn(4, h, c, hw, seed=1), randn(4, h, c, hw, seed=2), temperature


def test_attention_between_channels_in_both_orientations() -> None:
    """q k^T over its last index, and as eq. 3 is printed, V softmax(K Q) over its first."""
    q, k, v, temperature = qkv()
    found = channel_attention(q, k, v, temperature)
    q, k = q / q.norm(dim=-1, keepdim=True), k / k.norm(dim=-1, keepdim=True)
    rows = torch.einsum("nhap,nhbp->nhab", q, k) * temperature
    torch.testing.assert_close(found, torch.einsum("nhab,nhbp->nhap", rows.softmax(dim=3), v))
    columns = torch.einsum("nhap,nhbp->nhab", k, q) * temperature
    printed = torch.einsum("nhpa,nhab->nhpb", v.transpose(2, 3), columns.softmax(dim=2))
    torch.testing.assert_close(found, printed.transpose(2, 3))
    wrong = torch.einsum("nhpa,nhab->nhpb", v.transpose(2, 3), columns.softmax(dim=3))
    assert (found - wrong.transpose(2, 3)).abs().max() > 0.01


def test_weights_of_attention_sum_to_one() -> None:
    q, k, _, temperature = qkv()
    weights = channel_attention(q, k, torch.eye(3).expand(4, 2, 3, 3), temperature)
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(dim=3), torch.ones(4, 2, 3))


def flops(network: nn.Module, side: int, channels: int = 16) -> int:
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, side, side, channels), torch.zeros(1, PRIOR))
    return counter.get_total_flops()


def test_cost_is_linear_in_the_number_of_pixels() -> None:
    network = DMNet(16, 2, PRIOR)
    of_z = 2 * 2 * PRIOR * 16  # W1 Z and W2 Z are computed once an image
    assert (flops(network, 48) - of_z) / (flops(network, 24) - of_z) == 4.0


def test_places_may_be_shuffled_where_nothing_looks_at_neighbours() -> None:
    torch.manual_seed(0)
    network = DMNet(8, 2, PRIOR)
    f, z = randn(2, 4, 4, 8), randn(2, PRIOR, seed=1)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(2))

    def shuffled(x: Tensor) -> Tensor:
        return x.flatten(1, 2)[:, order].view_as(x)

    def differ() -> float:
        return float((network(shuffled(f), z) - shuffled(network(f, z))).detach().abs().max())

    assert differ() > 0.01
    for layer in (network.q, network.k, network.v):
        layer[1] = nn.Identity()
    assert differ() < 1e-6


def conv(x: Tensor, layers: nn.Sequential) -> Tensor:
    """1x1, then depthwise 3x3, of (n, c, h, w), as convolutions."""
    first, second = layers
    x = functional.conv2d(x, first.weight[:, :, None, None])  # type: ignore[index]
    return functional.conv2d(x, second.weight, padding=1, groups=x.shape[1])  # type: ignore[arg-type]


def test_the_gate_by_hand() -> None:
    torch.manual_seed(0)
    network, f, z = DGNet(8, PRIOR), randn(2, 4, 4, 8), randn(2, PRIOR, seed=1)
    seen = network.modulation(f, z).permute(0, 3, 1, 2)
    gated = functional.gelu(conv(seen, network.gate)) * conv(seen, network.value)
    assert gated.shape[1] == 16
    out = functional.conv2d(gated, network.out.weight[:, :, None, None]).permute(0, 2, 3, 1)
    torch.testing.assert_close(network(f, z), f + out)


def test_transposed_attention_by_hand() -> None:
    torch.manual_seed(0)
    network, f, z = DMNet(8, 2, PRIOR), randn(2, 4, 4, 8), randn(2, PRIOR, seed=1)
    nn.init.constant_(network.temperature, 1.7)
    seen = network.modulation(f, z).permute(0, 3, 1, 2)
    q, k, v = (
        conv(seen, layer).reshape(2, 2, 4, 16) for layer in (network.q, network.k, network.v)
    )
    mixed = channel_attention(q, k, v, network.temperature).reshape(2, 8, 4, 4)
    out = functional.conv2d(mixed, network.out.weight[:, :, None, None]).permute(0, 2, 3, 1)
    torch.testing.assert_close(network(f, z), f + out)


def test_each_sublayer_has_its_own_pair() -> None:
    block = DynamicBlock(8, 2, PRIOR)
    assert block.dm.modulation.scale.weight is not block.dg.modulation.scale.weight
    assert all(not layer.bias for layer in (block.dm.modulation.scale, block.dg.modulation.shift))


def test_halving_keeps_every_number() -> None:
    """Four neighbours become channels of one place."""
    half = Halve(4)
    with torch.no_grad():
        half.conv.weight.zero_()
        for channel in range(2):
            half.conv.weight[channel, channel, 1, 1] = 1
    f = randn(1, 6, 6, 4)
    found = half(f)
    assert found.shape == (1, 3, 3, 8)
    torch.testing.assert_close(found[0, 1, 2].sort().values, f[0, 2:4, 4:6, :2].flatten().sort()[0])


@pytest.mark.parametrize("px", [48, 64, 112])
def test_three_levels(px: int) -> None:
    maps = DTNetwork(1, (8, 16, 32), 1, PRIOR)(torch.zeros(2, 1, px, px), torch.zeros(2, PRIOR))
    shapes = [(2, px // by, px // by, c) for by, c in ((2, 8), (4, 16), (8, 32))]
    assert [tuple(f.shape) for f in maps] == shapes


def test_z_reaches_every_level_and_every_face_has_its_own() -> None:
    torch.manual_seed(0)
    network, x, z = DTNetwork(1, (8, 16, 32), 1, PRIOR), randn(2, 1, 16, 16), randn(2, PRIOR)
    other = z.clone()
    other[1] += 1
    for before, after in zip(network(x, z), network(x, other), strict=True):
        assert torch.equal(before[0], after[0])
        assert (before[1] - after[1]).abs().max() > 1e-3


def test_doubling_is_the_way_back() -> None:
    """Where the convolutions copy and the skip is left out, what was halved is found again."""
    half, double, f = Halve(4), Double(8), randn(1, 6, 6, 4)
    with torch.no_grad():
        for layer in (half.conv, double.conv):
            layer.weight.zero_()
        double.join.weight.zero_()
        for channel in range(2):
            half.conv.weight[channel, channel, 1, 1] = 1
            double.join.weight[channel, channel] = 1
        for channel in range(8):
            double.conv.weight[channel, channel, 1, 1] = 1
    found = double(half(f), randn(1, 6, 6, 4, seed=1))
    torch.testing.assert_close(found[..., :2], f[..., :2])
    double.join.weight.data[2, 4 + 3] = 1  # the skip comes after what was enlarged
    skip = randn(1, 6, 6, 4, seed=1)
    torch.testing.assert_close(double(half(f), skip)[..., 2], skip[..., 3])


def test_a_decoder_gives_maps_of_the_same_shapes_that_know_the_level_below() -> None:
    torch.manual_seed(0)
    plain = DTNetwork(1, (8, 16, 32), 1, PRIOR)
    decoder = DTNetwork(1, (8, 16, 32), 1, PRIOR, decoder=True)
    x, z = randn(2, 1, 16, 16).requires_grad_(), randn(2, PRIOR)
    for network, reaches in ((plain, False), (decoder, True)):
        maps = network(x, z)
        assert [tuple(f.shape) for f in maps] == [(2, 8, 8, 8), (2, 4, 4, 16), (2, 2, 2, 32)]
        deepest = network.get_parameter("levels.2.0.dg.out.weight")
        reached = torch.autograd.grad(maps[0].square().sum(), deepest, allow_unused=True)
        assert (reached[0] is not None) == reaches


def test_without_a_decoder_no_weight_of_one() -> None:
    names = DTNetwork(1, (8, 16, 32), 1, PRIOR).state_dict()
    assert not any(name.startswith(("up", "back")) for name in names)
