"""DTnetwork: transformer blocks that Z modulates, in a pyramid of three levels (eq. 2 to 4).

Inside, feature maps are (n, h, w, c): a 1x1 convolution is a Linear, and a norm over channels is
one over the last axis.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

HEADS = (1, 2, 4)


class DepthwiseConv(nn.Conv2d):
    """A 3x3 convolution of each channel by itself, on (n, h, w, c)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, 1, 1, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _pointwise_then_depthwise(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(c_in, c_out, bias=False), DepthwiseConv(c_out))


class Modulation(nn.Module):
    """F' = (W1 Z) * LN(F) + W2 Z (eq. 2); W1 Z starts around 1."""

    def __init__(self, channels: int, prior: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, elementwise_affine=False)
        self.scale = nn.Linear(prior, channels, bias=False)
        self.shift = nn.Linear(prior, channels, bias=False)
        for layer in (self.scale, self.shift):
            nn.init.normal_(layer.weight, std=0.2 / prior**0.5)

    def forward(self, f: Tensor, z: Tensor) -> Tensor:
        scale, shift = 1 + self.scale(z), self.shift(z)
        return torch.addcmul(shift[:, None, None], self.norm(f), scale[:, None, None])


class DMNet(nn.Module):
    """Attention between channels, not places: (n, h, w, c) and Z -> (n, h, w, c) (eq. 3).

    Its cost is linear in the number of pixels.
    """

    def __init__(self, channels: int, heads: int, prior: int) -> None:
        super().__init__()
        self._heads = heads
        self.modulation = Modulation(channels, prior)
        self.q, self.k, self.v = (_pointwise_then_depthwise(channels, channels) for _ in range(3))
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.out = nn.Linear(channels, channels, bias=False)

    def forward(self, f: Tensor, z: Tensor) -> Tensor:
        n, h, w, c = f.shape
        seen = self.modulation(f, z)
        q, k, v = (
            layer(seen).reshape(n, h * w, self._heads, -1).permute(0, 2, 3, 1)
            for layer in (self.q, self.k, self.v)
        )
        out = channel_attention(q, k, v, self.temperature)
        out = out.permute(0, 3, 1, 2).reshape(n, h, w, c)
        restored: Tensor = f + self.out(out)
        return restored


def channel_attention(q: Tensor, k: Tensor, v: Tensor, temperature: Tensor) -> Tensor:
    """softmax(q k^T temperature) v, q and k of length 1 along the pixels: all (n, heads, c, hw)."""
    q, k = functional.normalize(q, dim=-1), functional.normalize(k, dim=-1)
    weights = torch.softmax(q @ k.transpose(-1, -2) * temperature, dim=-1)
    return weights @ v


class DGNet(nn.Module):
    """A gated feed-forward: (n, h, w, c) and Z -> (n, h, w, c) (eq. 4, with an output layer)."""

    def __init__(self, channels: int, prior: int) -> None:
        super().__init__()
        self.modulation = Modulation(channels, prior)
        self.gate = _pointwise_then_depthwise(channels, 2 * channels)
        self.value = _pointwise_then_depthwise(channels, 2 * channels)
        self.out = nn.Linear(2 * channels, channels, bias=False)

    def forward(self, f: Tensor, z: Tensor) -> Tensor:
        seen = self.modulation(f, z)
        restored: Tensor = f + self.out(functional.gelu(self.gate(seen)) * self.value(seen))
        return restored


class DynamicBlock(nn.Module):
    """DMNet, then DGNet."""

    def __init__(self, channels: int, heads: int, prior: int) -> None:
        super().__init__()
        self.dm, self.dg = DMNet(channels, heads, prior), DGNet(channels, prior)

    def forward(self, f: Tensor, z: Tensor) -> Tensor:
        restored: Tensor = self.dg(self.dm(f, z), z)
        return restored


class Halve(nn.Module):
    """(n, h, w, c) -> (n, h / 2, w / 2, 2c): a convolution to c / 2, four pixels into one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels // 2, 3, 1, 1, bias=False)

    def forward(self, f: Tensor) -> Tensor:
        return functional.pixel_unshuffle(self.conv(f.permute(0, 3, 1, 2)), 2).permute(0, 2, 3, 1)


class Double(nn.Module):
    """The way back of `Halve`, joined to a skip: (n, h, w, c) and (n, 2h, 2w, c / 2) -> the skip's
    shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * channels, 3, 1, 1, bias=False)
        self.join = nn.Linear(channels, channels // 2, bias=False)

    def forward(self, f: Tensor, skip: Tensor) -> Tensor:
        larger = functional.pixel_shuffle(self.conv(f.permute(0, 3, 1, 2)), 2).permute(0, 2, 3, 1)
        joined: Tensor = self.join(torch.cat([larger, skip], dim=-1))
        return joined


class DTNetwork(nn.Module):
    """Faces (n, channels, H, W) and Z (n, prior) -> F1, F2, F3 of H/2, H/4, H/8, each
    (n, h, w, c) with c of `widths`. With `decoder`, F2 and F1 are those of the way back up."""

    def __init__(
        self,
        channels: int,
        widths: tuple[int, int, int],
        blocks: int,
        prior: int,
        decoder: bool = False,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, widths[0], 3, 2, 1, bias=False)
        self.halve = nn.ModuleList([Halve(widths[0]), Halve(widths[1])])

        def level(number: int) -> nn.ModuleList:
            made = (DynamicBlock(widths[number], HEADS[number], prior) for _ in range(blocks))
            return nn.ModuleList(made)

        self.levels = nn.ModuleList(level(number) for number in range(3))
        self.up = nn.ModuleList(Double(widths[n + 1]) for n in (0, 1) if decoder)
        self.back = nn.ModuleList(level(n) for n in (0, 1) if decoder)

    def forward(self, x: Tensor, z: Tensor) -> list[Tensor]:
        f = self.stem(x).permute(0, 2, 3, 1)
        maps: list[Tensor] = []
        for number, level in enumerate(self.levels):
            if number:
                f = self.halve[number - 1](f)
            f = _apply_level(level, f, z)
            maps.append(f)
        for number in reversed(range(len(self.back))):
            f = self.up[number](f, maps[number])
            maps[number] = f = _apply_level(self.back[number], f, z)
        return maps


def _apply_level(level: nn.Module, f: Tensor, z: Tensor) -> Tensor:
    for block in level.children():
        f = block(f, z)
    return f
