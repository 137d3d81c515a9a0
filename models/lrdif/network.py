"""LRDif in its two stages, and `Poster`, the same network without diffusion.

Stage 1 sees a face and its label, and learns what a prior Z is good for. Stage 2 sees the face
alone and restores Z by diffusion: it is what serves, and has no input for a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.diffusion import Diffusion
from models.lrdif.clip import ClipEncoders
from models.lrdif.encoders import FEATURES, ExternalEncoder, ImageEncoder, LabelEncoder
from models.lrdif.former import UDCFormer
from models.lrdif.prior import FPEN, PriorRestorer, epr_norm
from models.lrdif.track_prior import Past
from models.lrdif.trunk import ModulatedResNet, weigh

MOST_BLOCKS = 64


@dataclass(frozen=True)
class Shape:
    """Sizes of a UDCformer. `widths`: channels of the image network's three levels, `dil_blocks`:
    residual blocks of each; `dt_widths`: channels of DTnetwork's, each of `dt_blocks` blocks;
    `width`: of its tokens; `dt_decoder`: whether DTnetwork also goes back up, as the paper's does
    to draw images; `class_alone`: whether the head reads the class token alone, as the paper's,
    or the mean of all tokens too."""

    channels: int = 1
    input_px: int = 48
    widths: tuple[int, int, int] = (32, 64, 128)
    dil_blocks: tuple[int, int, int] = (1, 2, 2)
    dt_widths: tuple[int, int, int] = (16, 32, 64)
    dt_blocks: int = 1
    width: int = 96
    fusion_blocks: int = 1
    dropout: float = 0.1
    dt_decoder: bool = False
    class_alone: bool = False

    def __post_init__(self) -> None:
        if self.input_px % 8:
            raise ValueError(f"input_px {self.input_px}: give a multiple of 8")
        for name in ("widths", "dt_widths"):
            first, *others = given = getattr(self, name)
            if list(others) != [2 * first, 4 * first]:
                raise ValueError(f"{name} {given}: give three, each twice the one before")
            object.__setattr__(self, name, tuple(given))
        if not min(self.dt_blocks, self.fusion_blocks) >= 1:
            raise ValueError("dt_blocks and fusion_blocks: give 1 or more")
        if max(self.dt_blocks, self.fusion_blocks, *self.dil_blocks) > MOST_BLOCKS:
            raise ValueError(f"blocks: give at most {MOST_BLOCKS}")
        if len(self.dil_blocks) != 3 or min(self.dil_blocks) < 1:
            raise ValueError(f"dil_blocks {self.dil_blocks}: give three, each 1 or more")
        object.__setattr__(self, "dil_blocks", tuple(self.dil_blocks))


class LRDif(nn.Module):
    """Stage 2: faces (n, channels, H, W) and a start Z_T (n, prior) -> logits (n, classes).

    `prior` is the size of Z; `norm` keeps Z at mean 0 and variance 1; `clip` names a folder with a
    CLIP that takes the place of our own encoder; the rest of the settings are those of `Diffusion`,
    `PriorRestorer` and `Shape`. With a `trunk`, its width, the former is a `ModulatedResNet`: Z is
    restored from its own maps, and used as far as the buffer `trust` (steps,) says, in 0..1: the
    mean cosine of restored and true Z in training, by the number of a track's earlier observations
    that Z knows of. Of `Shape` it takes channels and dropout. Raises ValueError for settings that
    cannot be, and ModelError for a CLIP that cannot be opened.
    """

    trust: Tensor

    def __init__(
        self,
        classes: int,
        prior: int = 128,
        steps: int = 4,
        param: str = "x0",
        zero_snr: bool = True,
        insert_noise: bool = False,
        norm: bool = True,
        restorer: str = "diffusion",
        clip: str = "",
        trunk: int = 0,
        **shape: Any,
    ) -> None:
        super().__init__()
        sizes = Shape(**shape)
        self.prior = prior
        self.diffusion = Diffusion(steps, param, zero_snr, insert_noise)
        self.clip = ClipEncoders(clip) if clip else None
        self.former: UDCFormer | ModulatedResNet
        if trunk:
            if clip or not norm or sizes.input_px % 16:
                raise ValueError("trunk: give no clip, norm, and input_px a multiple of 16")
            former = ModulatedResNet(classes, trunk, sizes.channels, sizes.dropout, prior)
            self.restorer = PriorRestorer(former.features, prior, self.diffusion, norm, restorer)
            self.former = former
            self.register_buffer("trust", torch.zeros(steps))
            return
        self.encoder: nn.Module = ImageEncoder(sizes.channels)
        features = FEATURES
        if self.clip:
            self.encoder, features = ExternalEncoder(self.clip.image), self.clip.features
        self.restorer = PriorRestorer(features, prior, self.diffusion, norm, restorer)
        self.former = UDCFormer(classes, prior=prior, **asdict(sizes))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Faces -> what the former classifies, with Z, and the features Z is restored from."""
        if isinstance(self.former, ModulatedResNet):
            maps = self.former.encode(x)
            return maps, self.former.summarise(maps)
        return x, self.encoder(x)

    def classify(self, encoded: Tensor, z: Tensor, trust: Tensor | None = None) -> Tensor:
        """Encoded faces and Z (n, prior) -> logits (n, classes). With a trunk, `trust` (n, 1) is
        how far each Z is trusted, by default as far as that of a first observation; 0: not used."""
        if isinstance(self.former, ModulatedResNet):
            trust = self.trust[0] if trust is None else trust
            return self.former.classify(encoded, weigh(z, trust))
        logits: Tensor = self.former(encoded, z)
        return logits

    def restore(self, x: Tensor, start: Tensor, noises: Sequence[Tensor] = ()) -> Tensor:
        """Z (n, prior) of faces, from Z_T; `noises` of the steps T to 2 where they are inserted."""
        z: Tensor = self.restorer(self.encode(x)[1], start, noises)
        return z

    @property
    def carries_z(self) -> bool:
        """Whether it has learned to go on from the Z of a track's earlier observations."""
        return bool(self.trust[1:].any()) if isinstance(self.former, ModulatedResNet) else False

    def remember(self, x: Tensor, noise: Tensor, past: Past) -> tuple[Tensor, Past]:
        """One more observation (n, channels, H, W) of each track: its maps, and the Z that the
        next observation goes on from. Of a network with a trunk; `noise` (n, prior)."""
        encoded, features = self.encode(x)
        levels = past.levels(self.diffusion.steps)
        start = self.diffusion.forward(past.z, noise, levels)
        return encoded, Past(self.restorer(features, start, levels=levels), past.count + 1)

    def observe(self, x: Tensor, noise: Tensor, past: Past) -> tuple[Tensor, Past]:
        """The logits (n, classes) of one more observation, and what `remember` returns."""
        encoded, now = self.remember(x, noise, past)
        trust = self.trust[past.count.clamp(max=len(self.trust) - 1)]
        return self.classify(encoded, now.z, trust[:, None]), now

    def forward(self, x: Tensor, start: Tensor, noises: Sequence[Tensor] = ()) -> Tensor:
        encoded, features = self.encode(x)
        return self.classify(encoded, self.restorer(features, start, noises))


class LRDifWithLabel(nn.Module):
    """Stage 1: the same, its Z made from the face and its label (n, K shares). For training.

    Of `labels` CLIP reads the names, where there is a `clip`.
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        prior: int = 128,
        norm: bool = True,
        clip: str = "",
        **shape: Any,
    ) -> None:
        super().__init__()
        sizes = Shape(**shape)
        self._normed = norm
        self.encoder: nn.Module = ImageEncoder(sizes.channels)
        self.label: nn.Module = LabelEncoder(len(labels))
        features = FEATURES
        if clip:
            mounted = ClipEncoders(clip, labels)
            self.encoder, self.label = (
                ExternalEncoder(mounted.image),
                ExternalEncoder(mounted.label),
            )
            features = mounted.features
        self.fpen = FPEN(2 * features, prior)
        self.former = UDCFormer(len(labels), prior=prior, **asdict(sizes))

    def z(self, x: Tensor, shares: Tensor) -> Tensor:
        """Z (n, prior) of faces and their labels (eq. 1)."""
        made: Tensor = self.fpen(torch.cat([self.label(shares), self.encoder(x)], dim=1))
        return epr_norm(made) if self._normed else made

    def forward(self, x: Tensor, shares: Tensor) -> Tensor:
        logits: Tensor = self.former(x, self.z(x, shares))
        return logits


class Poster(nn.Module):
    """LRDif's image and landmark network, fusion and head alone: faces -> logits (n, classes)."""

    def __init__(self, classes: int, **shape: Any) -> None:
        super().__init__()
        self.former = UDCFormer(classes, prior=0, **asdict(Shape(**shape)))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.former(x)
        return logits
