"""Windows, the attention in them, and landmarks that stay as they are."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from models.lrdif.landmark_image import (
    CrossBlock,
    DILNetwork,
    WindowCrossAttention,
    from_windows,
    relative_places,
    to_windows,
)
from models.lrdif.landmarks import LandmarkNet


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(side=st.integers(1, 4), rows=st.integers(1, 3), columns=st.integers(1, 3))
def test_windows_and_back(side: int, rows: int, columns: int) -> None:
    x = randn(2, rows * side, columns * side, 3)
    windows = to_windows(x, side)
    assert windows.shape == (2, rows * columns, side * side, 3)
    assert torch.equal(from_windows(windows, rows * side, columns * side), x)
    last = x[:, -side:, -side:].reshape(2, -1, 3)
    assert torch.equal(windows[:, -1], last)


def attention(side: int = 3) -> WindowCrossAttention:
    torch.manual_seed(0)
    block = WindowCrossAttention(8, 2, side)
    torch.nn.init.normal_(block.bias)
    return block


def test_attention_window_by_window() -> None:
    """Against one window and one head at a time, the bias looked up by row and column."""
    side, block = 3, attention()
    x, queries = randn(2, 6, 9, 8), randn(2, 9, 8, seed=1)
    bias = torch.empty(2, 9, 9)
    for i in range(9):
        for j in range(9):
            rows, columns = i // 3 - j // 3 + 2, i % 3 - j % 3 + 2
            bias[:, i, j] = block.bias[:, rows * 5 + columns]
    found = block(x, queries)
    q = block.q(queries)
    for top in (0, 3):
        for left in (0, 3, 6):
            window = x[:, top : top + side, left : left + side].reshape(2, 9, 8)
            k, v = block.kv(window).split(8, dim=2)
            heads = [
                functional.scaled_dot_product_attention(
                    q[:, :, part], k[:, :, part], v[:, :, part], attn_mask=bias[head]
                )
                for head, part in enumerate((slice(0, 4), slice(4, 8)))
            ]
            wanted = block.out(torch.cat(heads, dim=2)).view(2, 3, 3, 8)
            torch.testing.assert_close(
                found[:, top : top + side, left : left + side], wanted, atol=1e-6, rtol=1e-5
            )


def test_a_window_does_not_see_the_others() -> None:
    block, x, queries = attention(), randn(1, 6, 6, 8), randn(1, 9, 8, seed=1)
    other = x.clone()
    other[:, 3:, :3] += 1
    before, after = (to_windows(block(image, queries), 3)[0] for image in (x, other))
    assert torch.equal(before[[0, 1, 3]], after[[0, 1, 3]])
    assert (before[2] - after[2]).abs().max() > 1e-3


def test_relative_places_are_told_apart() -> None:
    places = relative_places(3)
    assert set(places.flatten().tolist()) == set(range(25))
    assert places[0, 0] == places[4, 4] == places[8, 8]
    assert places[0, 1] == places[3, 4] != places[1, 0]


def test_residuals_and_norms_of_the_block() -> None:
    torch.manual_seed(0)
    block, x, maps = CrossBlock(8, 2, 3, 5), randn(2, 6, 6, 8), randn(2, 5, 12, 12)
    pooled = functional.avg_pool2d(maps, 4).flatten(2).transpose(1, 2)
    first = block.attention(block.norm1(x), block.ask(pooled)) + x
    torch.testing.assert_close(block(x, maps), block.mlp(block.norm2(first)) + first)


@pytest.mark.parametrize(("px", "side"), [(48, 6), (64, 8), (112, 14)])
def test_windows_of_each_size(px: int, side: int) -> None:
    """16, 4 and 1 windows at the three levels."""
    network = DILNetwork(1, px, (8, 16, 32), (1, 1, 1))
    maps = network(torch.zeros(1, 1, px, px))
    assert [tuple(o.shape[1:]) for o in maps] == [
        (px // by, px // by, c) for by, c in ((2, 8), (4, 16), (8, 32))
    ]
    assert [to_windows(o, side).shape[1] for o in maps] == [16, 4, 1]


def test_the_landmark_network_stays_as_it_is() -> None:
    """No gradient, no running statistics, whatever mode the network is put into."""
    torch.manual_seed(0)
    network = DILNetwork(1, 16, (8, 16, 32), (1, 1, 1)).train()
    before = {name: value.clone() for name, value in network.landmarks.state_dict().items()}
    network.requires_grad_(True)  # even so
    sum(o.square().sum() for o in network(randn(4, 1, 16, 16))).backward()
    assert all(value.grad is None for value in network.landmarks.parameters())
    after = network.landmarks.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    norm = network.stages[0][0].norm1
    assert norm.num_batches_tracked == 1


def test_landmarks_ask_the_picture() -> None:
    """Another landmark network, another answer, of the same image."""
    torch.manual_seed(0)
    network, x = DILNetwork(1, 16, (8, 16, 32), (1, 1, 1)).eval(), randn(2, 1, 16, 16)
    with torch.no_grad():
        for cross in network.cross:
            cross.ask.weight.mul_(20)  # type: ignore[operator, union-attr]
    before = network(x)
    network.landmarks.load_state_dict(LandmarkNet(1, 16).state_dict())
    for o, other in zip(before, network(x), strict=True):
        assert (o - other).abs().max() > 1e-4


def test_points_start_in_the_middle() -> None:
    torch.manual_seed(0)
    net = LandmarkNet(1, 16)
    torch.nn.init.zeros_(net.head.weight)
    torch.nn.init.zeros_(net.head.bias)
    assert torch.equal(net.points(randn(3, 1, 16, 16)), torch.full((3, 5, 2), 0.5))
