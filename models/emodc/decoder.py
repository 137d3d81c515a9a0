"""EmoDC's slim decoder: from an encoder's maps back up to the noise in every pixel."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from models.emodc.encoder import zero_linear

WIDTHS = (64, 32, 32)
"""Channels at 1/8, 1/4 and 1/2 of the face's side."""
GROUPS = 8
PATCH = 2
"""Pixels along a side that share a place of the last maps."""


class DecoderBlock(nn.Module):
    """Two 3x3 convolutions with a skip; the embedding (n, EMBEDDING) scales and shifts what is
    normalised before the second (AdaGN, Dhariwal & Nichol 2021, arXiv 2105.05233)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(GROUPS, channels)
        self.film = zero_linear(2 * channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        out = self.conv1(functional.silu(self.norm1(x)))
        scale, shift = self.film(embedded)[:, :, None, None].chunk(2, dim=1)
        out = self.norm2(out) * (1 + scale) + shift
        refined: Tensor = x + self.conv2(functional.silu(out))
        return refined


class Decoder(nn.Module):
    """Maps of the encoder's four levels, of `widths` channels, and the scaled noisy face as patches
    (n, 4 channels, h / 2, w / 2) -> `outputs` numbers of each place, (n, outputs, h / 2, w / 2).

    Skips are 1x1 convolutions, added. `rise` ends where the last level begins: what comes before is
    computed once where only the last level is conditioned.
    """

    def __init__(self, widths: list[int], channels: int, outputs: int) -> None:
        super().__init__()
        deep, *skipped = reversed(widths)
        self.start = nn.Conv2d(deep, WIDTHS[0], 1)
        self.skips = nn.ModuleList(
            nn.Conv2d(c, width, 1) for c, width in zip(skipped, WIDTHS, strict=True)
        )
        self.blocks = nn.ModuleList(DecoderBlock(width) for width in WIDTHS)
        self.narrow = nn.ModuleList(nn.Conv2d(wide, width, 1) for wide, width in pairwise(WIDTHS))
        # The encoder's stem has halved the side and cut off what is negative: the noise itself, of
        # which at low levels nearly all is to be predicted, has a way of its own.
        self.patches = nn.Conv2d(PATCH**2 * channels, WIDTHS[-1], 3, padding=1)
        self.norm = nn.GroupNorm(GROUPS, WIDTHS[-1])
        self.out = nn.Conv2d(WIDTHS[-1], outputs, 3, padding=1)

    def rise(self, levels: list[Tensor], patches: Tensor, embedded: Tensor) -> Tensor:
        """Up to what the last level starts from, (n, WIDTHS[-1], h / 2, w / 2)."""
        deep, *skipped = reversed(levels)
        x = self.start(deep)
        for number, (maps, skip) in enumerate(zip(skipped, self.skips, strict=True)):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest") + skip(maps)
            if number < len(self.narrow):
                x = self.narrow[number](self.blocks[number](x, embedded))
        risen: Tensor = x + self.patches(patches)
        return risen

    def finish(self, risen: Tensor, embedded: Tensor) -> Tensor:
        """The last level, at half the face's side."""
        x = self.blocks[-1](risen, embedded)
        outputs: Tensor = self.out(functional.silu(self.norm(x)))
        return outputs

    def forward(self, levels: list[Tensor], patches: Tensor, embedded: Tensor) -> Tensor:
        return self.finish(self.rise(levels, patches, embedded), embedded)


def to_patches(x: Tensor) -> Tensor:
    """Space to depth: (n, c, h, w) -> (n, 4 c, h / 2, w / 2)."""
    return functional.pixel_unshuffle(x, PATCH)


def from_patches(x: Tensor) -> Tensor:
    """Depth to space: (n, 4 c, h / 2, w / 2) -> (n, c, h, w)."""
    return functional.pixel_shuffle(x, PATCH)
