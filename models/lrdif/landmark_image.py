"""DILnetwork: cross-attention of landmark features to windows of the image (eq. 5 to 9)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.baselines.resnet import ResidualBlock
from models.lrdif.landmarks import WIDTHS as LANDMARK_WIDTHS
from models.lrdif.landmarks import LandmarkNet

HEADS = (2, 4, 8)
MLP_RATIO = 2


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) v: q (..., a, d), k and v (..., b, d) -> (..., a, d).

    Written out because torch's own is tuned for long token sequences: for the few tokens here its
    backward pass takes four times as long on a CPU in bfloat16 (docs/LOG.md).
    """
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return torch.softmax(scores if bias is None else scores + bias.to(scores.dtype), dim=-1) @ v


def to_windows(x: Tensor, side: int) -> Tensor:
    """(n, h, w, c) -> (n, windows, side * side, c), row by row."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // side, side, w // side, side, c).transpose(2, 3)
    return x.reshape(n, -1, side * side, c)


def from_windows(x: Tensor, height: int, width: int) -> Tensor:
    """The way back: (n, windows, side * side, c) -> (n, height, width, c)."""
    n, _, tokens, c = x.shape
    side = math.isqrt(int(tokens))
    x = x.reshape(n, height // side, width // side, side, side, c).transpose(2, 3)
    return x.reshape(n, height, width, c)


class WindowCrossAttention(nn.Module):
    """Landmark queries attend to every window: (n, h, w, c) and (n, side^2, c) -> (n, h, w, c).

    One set of queries is shared by all windows; a learned bias depends on the relative place.
    """

    def __init__(self, channels: int, heads: int, side: int) -> None:
        super().__init__()
        self._heads, self._side = heads, side
        self.q = nn.Linear(channels, channels)
        self.kv = nn.Linear(channels, 2 * channels)
        self.out = nn.Linear(channels, channels)
        self.bias = nn.Parameter(torch.zeros(heads, (2 * side - 1) ** 2))
        self.register_buffer("place", relative_places(side), persistent=False)

    def forward(self, x: Tensor, queries: Tensor) -> Tensor:
        n, h, w, c = x.shape
        windows = to_windows(x, self._side)
        q = self.q(queries).view(n, 1, -1, self._heads, c // self._heads).transpose(2, 3)
        kv = self.kv(windows).view(n, windows.shape[1], -1, 2, self._heads, c // self._heads)
        k, v = kv.permute(3, 0, 1, 4, 2, 5).unbind(0)
        out = attention(q, k, v, self.bias[:, self.place])  # type: ignore[index]
        projected: Tensor = self.out(out.transpose(2, 3).flatten(3))
        return from_windows(projected, h, w)


def relative_places(side: int) -> Tensor:
    """(side^2, side^2) int64: which of (2 side - 1)^2 offsets lies between two tokens."""
    at = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij"))
    offset = at.flatten(1)[:, :, None] - at.flatten(1)[:, None, :] + side - 1
    return offset[0] * (2 * side - 1) + offset[1]


class CrossBlock(nn.Module):
    """X' = MHCA(LN X) + X, then X'' = MLP(LN X') + X' (eq. 8 and 9, pre-norm)."""

    def __init__(self, channels: int, heads: int, side: int, landmark_width: int) -> None:
        super().__init__()
        self._side = side
        self.ask = nn.Linear(landmark_width, channels)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = WindowCrossAttention(channels, heads, side)
        self.mlp = nn.Sequential(
            nn.Linear(channels, MLP_RATIO * channels),
            nn.GELU(),
            nn.Linear(MLP_RATIO * channels, channels),
        )

    def forward(self, x: Tensor, landmarks: Tensor) -> Tensor:
        pooled = functional.adaptive_avg_pool2d(landmarks, self._side)
        queries = self.ask(pooled.flatten(2).transpose(1, 2))
        x = x + self.attention(self.norm1(x), queries)
        seen: Tensor = x + self.mlp(self.norm2(x))
        return seen


class DILNetwork(nn.Module):
    """Faces (n, channels, H, W) -> O1, O2, O3 of H/2, H/4, H/8, each (n, h, w, c).

    The landmark network is a fixed part: no gradient reaches it, and its statistics stay.
    """

    def __init__(
        self,
        channels: int,
        input_px: int,
        widths: tuple[int, int, int],
        blocks: tuple[int, int, int],
    ) -> None:
        super().__init__()
        self.landmarks = LandmarkNet(channels, input_px).requires_grad_(False)
        # A stem of its own: torch 2.13 overwrites memory in the backward pass of the 1x1
        # convolution that a residual block on so few channels would have.
        self.stem = nn.Sequential(
            nn.Conv2d(channels, widths[0], 3, 2, 1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        self.stages, self.cross = nn.ModuleList(), nn.ModuleList()
        levels = zip(widths, blocks, (1, 2, 2), HEADS, LANDMARK_WIDTHS, strict=True)
        c_in = widths[0]
        for c_out, depth, stride, heads, queries in levels:
            first = ResidualBlock(c_in, c_out, stride)
            rest = [ResidualBlock(c_out, c_out, 1) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(first, *rest))
            self.cross.append(CrossBlock(c_out, heads, input_px // 8, queries))
            c_in = c_out

    def train(self, mode: bool = True) -> DILNetwork:
        super().train(mode)
        self.landmarks.eval()
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        with torch.no_grad():
            landmarks = self.landmarks(x)
        x = self.stem(x)
        maps: list[Tensor] = []
        for stage, cross, queries in zip(self.stages, self.cross, landmarks, strict=True):
            x = stage(x)
            maps.append(cross(x.permute(0, 2, 3, 1), queries))
        return maps
