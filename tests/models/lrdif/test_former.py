"""Tokens of three levels, and what LRDif and its rival cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from models.lrdif.former import Fusion, FusionBlock
from models.lrdif.network import LRDif, Poster

LRDIF_S: dict[str, Any] = {
    "widths": (48, 96, 192), "dt_widths": (48, 96, 192), "dt_blocks": 2,
    "dil_blocks": (2, 2, 2), "width": 192, "fusion_blocks": 2,
}  # fmt: skip


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_block_by_hand() -> None:
    torch.manual_seed(0)
    block, x = FusionBlock(16), randn(2, 7, 16)
    q, k, v = block.qkv(block.norm1(x)).split(16, dim=2)
    heads = []
    for part in (slice(i, i + 4) for i in range(0, 16, 4)):
        weights = (q[:, :, part] @ k[:, :, part].transpose(1, 2) / 2).softmax(dim=2)
        heads.append(weights @ v[:, :, part])
    first = x + block.out(torch.cat(heads, dim=2))
    torch.testing.assert_close(block(x), first + block.mlp(block.norm2(first)))


@pytest.mark.parametrize(("px", "tokens"), [(48, 109), (64, 193), (112, 589)])
def test_every_level_gives_as_many_tokens(px: int, tokens: int) -> None:
    fusion = Fusion((4, 8, 8), 8, 1, px)
    assert fusion.place.shape == (1, tokens, 8)
    maps = [torch.zeros(2, px // by, px // by, c) for by, c in ((2, 4), (4, 8), (8, 8))]
    assert fusion(maps).shape == (2, 8)


def test_the_class_token_reads_every_level_and_knows_places() -> None:
    torch.manual_seed(0)
    fusion = Fusion((4, 8, 8), 8, 1, 16)
    maps = [randn(1, side, side, c, seed=side) for side, c in ((8, 4), (4, 8), (2, 8))]
    before = fusion(maps)
    for level in range(3):
        changed = [m + (level == i) * randn(*m.shape, seed=9) for i, m in enumerate(maps)]
        assert (fusion(changed) - before).abs().max() > 1e-3
    nn.init.normal_(fusion.place)
    turned = [m.flip(2) for m in maps]
    assert (fusion(turned) - fusion(maps)).abs().max() > 1e-3


def test_tokens_by_hand() -> None:
    """Class token first, then each level's patches row by row, all with their places."""
    torch.manual_seed(0)
    fusion = Fusion((4, 8, 8), 8, 1, 16)
    nn.init.normal_(fusion.start)
    maps = [randn(2, side, side, c, seed=side) for side, c in ((8, 4), (4, 8), (2, 8))]
    tokens = [fusion.start.expand(2, 1, 8)]
    for embed, found, side in zip(fusion.embed, maps, (4, 2, 1), strict=True):
        for row in (0, 1):
            for column in (0, 1):
                patch = found[:, row * side : (row + 1) * side, column * side : (column + 1) * side]
                tokens.append(embed(patch.permute(0, 3, 1, 2)).flatten(1)[:, None])
    mixed = fusion.blocks(torch.cat(tokens, dim=1) + fusion.place)
    both = fusion.norm(mixed[:, 0] + mixed[:, 1:].mean(dim=1))
    torch.testing.assert_close(fusion(maps), both, atol=1e-5, rtol=1e-5)
    alone = Fusion((4, 8, 8), 8, 1, 16, class_alone=True)
    alone.load_state_dict(fusion.state_dict())
    torch.testing.assert_close(alone(maps), fusion.norm(mixed)[:, 0], atol=1e-5, rtol=1e-5)


def cost(network: nn.Module, *inputs: Tensor) -> tuple[float, float]:
    """Millions of parameters, and GMAC of one face."""
    counter = FlopCounterMode(display=False)
    with counter:
        network(*inputs)
    return sum(p.numel() for p in network.parameters()) / 1e6, counter.get_total_flops() / 2e9


@pytest.mark.parametrize(
    ("shape", "px", "params_m", "gmac"),
    [
        (LRDIF_S, 48, 5.25, 0.375),
        (LRDIF_S, 64, 5.31, 0.670),
        ({}, 48, 1.79, 0.098),
    ],
)
def test_stated_cost(shape: dict[str, Any], px: int, params_m: float, gmac: float) -> None:
    with torch.device("meta"):  # shapes alone: nothing is computed
        network = LRDif(8, input_px=px, **shape)
        found = cost(network, torch.empty(1, 1, px, px), torch.empty(1, 128))
    assert found == pytest.approx((params_m, gmac), rel=0.04)


@pytest.mark.parametrize("steps", [1, 32])
def test_steps_cost_next_to_nothing(steps: int) -> None:
    with torch.device("meta"):
        x, start = torch.empty(1, 1, 48, 48), torch.empty(1, 128)
        _, four = cost(LRDif(8), x, start)
        _, other = cost(LRDif(8, steps=steps), x, start)
    assert other - four == pytest.approx((steps - 4) * 49_280e-9, rel=1e-6)


def test_poster_is_the_same_without_the_dynamic_network_and_z() -> None:
    with torch.device("meta"):
        ours, rival = LRDif(8, **LRDIF_S), Poster(8, **LRDIF_S)
    names = {name.partition(".")[0] for name, _ in rival.former.named_children()}
    assert names == {name for name, _ in ours.former.named_children()} - {"dt"}
    assert rival.former.dt is None

    def size(network: nn.Module) -> int:
        return sum(value.numel() for value in network.parameters())

    dt = ours.former.dt
    assert dt is not None
    narrower = sum(side**2 * c * 192 for side, c in ((4, 48), (2, 96), (1, 192)))
    left_out = size(ours.encoder) + size(ours.restorer) + size(dt) + narrower
    assert size(rival) == size(ours) - left_out


def test_dropout_stands_before_the_head_alone() -> None:
    torch.manual_seed(0)
    network = Poster(8, input_px=16, widths=(8, 16, 32), width=16, dropout=0.5).train()
    x = randn(4, 1, 16, 16)
    features = network.former.features(x, None)
    torch.manual_seed(1)
    logits = network(x)
    torch.manual_seed(1)
    wanted = network.former.head(functional.dropout(features, 0.5))
    torch.testing.assert_close(logits, wanted)
