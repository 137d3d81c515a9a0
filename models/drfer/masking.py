"""Masked image modelling: half of a face is hidden, and the network paints it in (training only).

It must know the parts of a face, and how they go together, to do so: representations are learned
without a label. The loss is that of SimMIM (Xie et al. 2022, arXiv 2111.09886).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.drfer.network import DRFER


class MaskDecoder(nn.Module):
    """The last maps of a face (n, c, h, w) -> its image (n, channels, h stride, w stride): one
    linear map of each place."""

    def __init__(self, network: DRFER) -> None:
        super().__init__()
        stride = network.trunk.stride
        self.project = nn.Conv2d(network.trunk.global_channels, network.channels * stride**2, 1)
        self.shuffle = nn.PixelShuffle(stride)

    def forward(self, maps: Tensor) -> Tensor:
        image: Tensor = self.shuffle(self.project(maps))
        return image


def sample_masks(n: int, px: int, patch_px: int, ratio: float, device: torch.device) -> Tensor:
    """(n, 1, px, px) bool: True where a pixel is hidden, the same share of the patches in every
    face. Random numbers are torch's global ones."""
    side = px // patch_px
    count = round(ratio * side**2)
    ranks = torch.rand(n, side**2, device=device).argsort(dim=1).argsort(dim=1)
    patches = (ranks < count).view(n, 1, side, side).float()
    return functional.interpolate(patches, size=(px, px), mode="nearest") > 0.5


def hide(x: Tensor, masks: Tensor) -> Tensor:
    """Faces (n, c, px, px) whose hidden pixels have the mean of the face; all others are as they
    were."""
    return torch.where(masks, x.mean(dim=(2, 3), keepdim=True), x)


def normalise_patches(x: Tensor, patch_px: int) -> Tensor:
    """Faces with every patch brought to mean 0 and variance 1: what to predict is then structure,
    not shading (He et al. 2022, arXiv 2111.06377, section 4.1)."""
    n, c, height, width = x.shape
    patches = x.reshape(n, c, height // patch_px, patch_px, width // patch_px, patch_px)
    mean = patches.mean(dim=(3, 5), keepdim=True)
    variance = patches.var(dim=(3, 5), correction=0, keepdim=True)
    return ((patches - mean) / (variance + 1e-2).sqrt()).reshape(x.shape)


def reconstruction_loss(predicted: Tensor, x: Tensor, masks: Tensor) -> Tensor:
    """Mean absolute error over the hidden pixels alone; 0 where none is hidden."""
    weights = masks.expand_as(x).to(x.dtype)
    return ((predicted - x).abs() * weights).sum() / weights.sum().clamp(min=1)


def paint(network: DRFER, decoder: MaskDecoder, hidden: Tensor) -> Tensor:
    """The image (n, c, px, px) that is predicted from a face of which a part is hidden."""
    with own_statistics(network):
        maps = network.trunk.rest(network.trunk.first(hidden))
    image: Tensor = decoder(maps)[..., : hidden.shape[2], : hidden.shape[3]]
    return image


@contextmanager
def own_statistics(network: nn.Module) -> Iterator[None]:
    """In training: masked faces are normalised by their own statistics, which leave no trace in
    those of whole faces."""
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.track_running_stats = not norm.training
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
