"""Attention, written out: torch's own is made for long rows of tokens, and with the few that are
here its backward pass takes four times as long on a processor, in bfloat16."""

from __future__ import annotations

import torch
from torch import Tensor


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) v: q (..., a, d), k and v (..., b, d) -> (..., a, d)."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return torch.softmax(scores if bias is None else scores + bias.to(scores.dtype), dim=-1) @ v
