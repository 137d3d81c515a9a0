"""Attention written out is torch's own, forwards and backwards."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.lrdif.landmark_image import attention


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("queries", [(3, 4, 5), (1, 4, 5), (3, 4, 9)])
@pytest.mark.parametrize("biased", [False, True])
def test_as_torch_has_it(queries: tuple[int, int, int], biased: bool) -> None:
    torch.manual_seed(0)
    n, heads, count = queries
    q, k, v = drawn(n, heads, count, 16), drawn(3, heads, 5, 16), drawn(3, heads, 5, 16)
    bias = drawn(heads, count, 5) if biased else None
    given = [each for each in (q, k, v, bias) if each is not None]
    ours = attention(q, k, v, bias)
    wanted = functional.scaled_dot_product_attention(
        q.expand(3, -1, -1, -1),
        k,
        v,
        attn_mask=None if bias is None else bias.expand(3, -1, -1, -1),
    )
    torch.testing.assert_close(ours, wanted)
    weights = torch.randn_like(wanted)
    moved, reference = (torch.autograd.grad((out * weights).sum(), given) for out in (ours, wanted))
    torch.testing.assert_close(moved, reference)
