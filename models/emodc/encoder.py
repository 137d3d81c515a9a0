"""A ResNet-18 that knows how noisy its image is: EmoDC's encoder, and a classifier by itself.

By itself it is EmoDC's honest baseline: what robustness comes from training on noise alone, when
its predictions of several noisy copies of a face are averaged (randomised smoothing, Cohen et al.
2019, arXiv 1902.02918).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.baselines.resnet import ResidualBlock, ResNet18
from models.emodc.noise import LEAST_SIGMA

Read = Callable[[int, Tensor], Tensor]
"""(number of the level from 0, maps) -> the maps with what was read of a description."""
EMBEDDING = 64
FREQUENCIES = 8
DATA_SIGMA = 1.0
"""Standard deviation of a face in units of a network's input, for EDM's preconditioning."""


class NoiseFilms(nn.Module):
    """Scale and shift (n, 2 c) of each residual block by the noise level, c_noise = log(sigma) / 4
    (Karras et al. 2022, table 1), and a condition where there is one. At the start all are zero.

    The buffer `own_noise_floor` is what `noise.estimate_own_noise` finds in clean faces.
    """

    frequencies: Tensor
    own_noise_floor: Tensor

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        frequencies = math.pi * torch.arange(1, FREQUENCIES + 1)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.register_buffer("own_noise_floor", torch.zeros(()))
        self.embedding = nn.Sequential(
            nn.Linear(2 * FREQUENCIES, EMBEDDING),
            nn.SiLU(),
            nn.Linear(EMBEDDING, EMBEDDING),
            nn.SiLU(),
        )
        self.blocks = nn.ModuleList(zero_linear(2 * width) for width in widths)

    def embed(self, sigma: Tensor) -> Tensor:
        """Noise levels (n,) -> (n, EMBEDDING)."""
        c_noise = sigma.clamp(min=LEAST_SIGMA).log() / 4
        angles = c_noise[:, None] * self.frequencies
        embedded: Tensor = self.embedding(torch.cat([angles.sin(), angles.cos()], dim=1))
        return embedded


def zero_linear(size: int) -> nn.Linear:
    """An embedding's layer of `size` outputs that starts at zero."""
    layer = nn.Linear(EMBEDDING, size)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def c_in(x: Tensor, sigma: Tensor) -> Tensor:
    """Noisy faces (n, c, h, w) of noise levels (n,) -> the same at the variance of clean ones: a
    face without noise stays what it is, bit for bit."""
    return x / (sigma.square() + DATA_SIGMA**2).sqrt()[:, None, None, None]


class NoiseResNet18(ResNet18):
    """Noisy faces (n, channels, h, w) and their noise levels (n,) -> logits (n, classes).

    From the weights of a ResNet-18 it starts as that network exactly: a face without noise gets its
    logits. A prediction is the mean over `steps` copies of a face (`models.emodc.classifier`), at
    noise levels evenly in log sigma between `low` and `high`.
    """

    def __init__(
        self,
        classes: int,
        width: int = 36,
        stem_stride: int = 2,
        channels: int = 1,
        dropout: float = 0.3,
        steps: int = 4,
        low: float = 0.05,
        high: float = 0.5,
    ) -> None:
        super().__init__(classes, width, stem_stride, channels, dropout)
        check_steps(steps, low, high)
        self.steps, self.low, self.high = steps, low, high
        self.widths = [width, width * 2, width * 4, width * 8]
        """Channels of the maps of each level."""
        self.films = NoiseFilms([c for c in self.widths for _ in range(2)])

    def encode(
        self, x: Tensor, sigma: Tensor, condition: Tensor | None = None, read: Read | None = None
    ) -> list[Tensor]:
        """Noisy faces -> the maps of four levels, (n, c, h / 2, w / 2) down to (n, 8 c, h / 16,
        w / 16); `condition` (n, EMBEDDING) is added to what each block reads of the noise, and
        `read` to the maps of each level, before the next one."""
        embedded = self.films.embed(sigma)
        embedded = embedded if condition is None else embedded + condition
        maps, levels = self.stem(c_in(x, sigma)), list[Tensor]()
        for number, (block, film) in enumerate(zip(self.stages, self.films.blocks, strict=True)):
            assert isinstance(block, ResidualBlock)
            maps = block(maps, film(embedded))
            if number % 2:
                levels.append(maps if read is None else read(len(levels), maps))
                maps = levels[-1]
        return levels

    def forward(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        if sigma is None:
            sigma = x.new_zeros(len(x))
        return self.logits(self.encode(x, sigma)[-1])


def check_steps(steps: int, low: float, high: float) -> None:
    """Raises ValueError for no step, and for noise levels that are none."""
    if steps < 1 or not LEAST_SIGMA <= low < high:
        what = f"{steps} steps of noise from {low} to {high}"
        raise ValueError(f"{what}: give 1 or more, and {LEAST_SIGMA} <= low < high")
