"""EmoDC's network: the noise in a face, as predicted under each emotion and under none."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.emodc.decoder import PATCH, WIDTHS, Decoder, from_patches, to_patches
from models.emodc.descriptions import (
    CONDITIONS,
    CrossAttention,
    IdDescriptions,
    TextDescriptions,
)
from models.emodc.encoder import NoiseResNet18, c_in
from models.emodc.levels import QualityLevels
from models.emodc.noise import BINS, bin_of

HEADS = ("multi", "split", "cond")
LEVELS = ("even", "quality")
READING = (1, 2)
"""The levels at which words are read: of a face of 48 pixels those of 12 and 6."""
START_SCALE = 0.5
"""Of the errors' sum over pixels: the log-likelihood of noise of variance 1."""


class EmoDC(nn.Module):
    """Noisy faces (n, channels, h, w) and noise levels (n,) -> the noise eps as predicted under
    each of `classes` emotions and, last, under none: (n, classes + 1, channels, h, w).

    `head`: how the emotion enters. `cond`: everywhere, as the abstract's conditional model, one
    evaluation of the network for each emotion. `split`: into the decoder's last level alone, the
    rest is evaluated once. `multi`: all predictions come out of one evaluation (RDC, Chen et al.
    2024, arXiv 2402.02316): eps_k = eps + (1 + a_k) D_k, with a_k from the bottleneck's mean.

    `condition`: what `cond` and `split` know of an emotion (`models.emodc.descriptions`): a row of
    a table, `ids`, or `text`, a description that is read by cross-attention at the levels READING:
    by `cond` into the encoder's maps, by `split` out of them into the decoder's last level.
    `labels`: the names of the classes, where they are described or compound; `encodings` is that of
    `TextDescriptions`.

    A prediction of the expression sums the errors over `steps` noise levels, evenly between `low`
    and `high`, or, with `levels` of quality, at those of `QualityLevels`. What the sum needs is
    learned with the weights: the scale of a level's errors, `log_scale`, by gradient;
    `timestep_weights`, each 0 or more, and the `log_prior` (classes,) by calibration. Levels are
    those of `noise.bin_of`. Raises ValueError for settings that cannot be.
    """

    timestep_weights: Tensor
    log_prior: Tensor

    def __init__(
        self,
        classes: int,
        head: str = "multi",
        width: int = 36,
        channels: int = 1,
        dropout: float = 0.3,
        steps: int = 4,
        low: float = 0.05,
        high: float = 0.5,
        condition: str = "ids",
        labels: Sequence[str] = (),
        encodings: int = 0,
        levels: str = "even",
    ) -> None:
        super().__init__()
        _check_condition(classes, head, condition, labels)
        if levels not in LEVELS:
            raise ValueError(f"levels {levels!r}: give {', '.join(LEVELS)}")
        self.classes, self.head, self.channels = classes, head, channels
        self.encoder = NoiseResNet18(classes, width, 2, channels, dropout, steps, low, high)
        predictions = 1 + classes * (head == "multi")
        widths = self.encoder.widths
        self.decoder = Decoder(widths, channels, predictions * PATCH**2 * channels)
        if head == "multi":
            self.gates = nn.Linear(widths[-1], classes)
            nn.init.zeros_(self.gates.weight)
            nn.init.zeros_(self.gates.bias)
            # No emotion differs from another at first.
            nn.init.zeros_(self.decoder.out.weight[PATCH**2 * channels :])
            nn.init.zeros_(self.decoder.out.bias[PATCH**2 * channels :])  # type: ignore[index]
        elif condition == "ids":
            self.descriptions: nn.Module = IdDescriptions(classes, labels)
        else:
            self.descriptions = TextDescriptions(labels, encodings)
            outputs = {"cond": widths, "split": WIDTHS[-1:] * len(widths)}[head]
            self.readers = nn.ModuleDict(
                {str(level): CrossAttention(widths[level], outputs[level]) for level in READING}
            )
        self.log_scale = nn.Parameter(torch.full((BINS,), START_SCALE).log())
        self.register_buffer("timestep_weights", torch.ones(BINS))
        self.register_buffer("log_prior", torch.zeros(classes))
        self.quality = QualityLevels(steps) if levels == "quality" else None

    @property
    def steps(self) -> int:
        """Noise levels of a prediction."""
        return self.encoder.steps

    def forward(self, x: Tensor, sigma: Tensor, emotions: Tensor | None = None) -> Tensor:
        """With `emotions` (m,) int64, 0 to `classes` for none, the predictions under those alone:
        (n, m, channels, h, w)."""
        if emotions is None:
            emotions = torch.arange(self.classes + 1, device=x.device)
        if self.head == "multi":
            return self._predict_all(x, sigma)[:, emotions]
        m, under = len(emotions), emotions.repeat(len(x))
        if self.head == "cond":
            faces, sigmas = (value.repeat_interleave(m, dim=0) for value in (x, sigma))
            return torch.unflatten(self._predict(faces, sigmas, under), 0, (-1, m))
        out = torch.unflatten(self._predict_split(x, sigma, under, m), 0, (-1, m))
        return precondition(x[:, None], sigma, out)

    def predict_under(self, x: Tensor, sigma: Tensor, emotions: Tensor) -> Tensor:
        """The noise (n, channels, h, w) of each face under an emotion of its own, (n,) int64."""
        if self.head == "multi":
            return self._predict_all(x, sigma)[torch.arange(len(x), device=x.device), emotions]
        if self.head == "cond":
            return self._predict(x, sigma, emotions)
        return precondition(x, sigma, self._predict_split(x, sigma, emotions, 1))

    def _predict(self, x: Tensor, sigma: Tensor, emotions: Tensor) -> Tensor:
        """Head `cond`: the emotion enters wherever the noise level does, or where it is read."""
        described, embedded = self.descriptions(emotions), self.encoder.films.embed(sigma)
        if self.is_read:

            def read(level: int, maps: Tensor) -> Tensor:
                return (
                    maps + self.readers[str(level)](maps, described) if level in READING else maps
                )

            levels = self.encoder.encode(x, sigma, read=read)
        else:
            levels, embedded = self.encoder.encode(x, sigma, described), embedded + described
        out = self.decoder(levels, to_patches(c_in(x, sigma)), embedded)
        return precondition(x, sigma, from_patches(out))

    def _predict_split(self, x: Tensor, sigma: Tensor, emotions: Tensor, m: int) -> Tensor:
        """Head `split`: all but the last level once, then each face under m emotions, of (n m,),
        emotions innermost: the network's output, (n m, channels, h, w)."""
        described, embedded = self.descriptions(emotions), self.encoder.films.embed(sigma)
        levels = self.encoder.encode(x, sigma)
        risen = self.decoder.rise(levels, to_patches(c_in(x, sigma)), embedded)
        risen, embedded = (value.repeat_interleave(m, dim=0) for value in (risen, embedded))
        if not self.is_read:
            return from_patches(self.decoder.finish(risen, embedded + described))
        for level in READING:
            maps = self.readers[str(level)](levels[level].repeat_interleave(m, dim=0), described)
            risen = risen + functional.interpolate(maps, risen.shape[2:], mode="nearest")
        return from_patches(self.decoder.finish(risen, embedded))

    @property
    def is_read(self) -> bool:
        """Whether emotions are described in words."""
        return isinstance(getattr(self, "descriptions", None), TextDescriptions)

    def _predict_all(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Head `multi`: (n, classes + 1, channels, h, w)."""
        levels = self.encoder.encode(x, sigma)
        embedded = self.encoder.films.embed(sigma)
        out = from_patches(self.decoder(levels, to_patches(c_in(x, sigma)), embedded))
        out = torch.unflatten(out, 1, (self.classes + 1, self.channels))
        eps = precondition(x[:, None], sigma, out[:, :1])
        gates = 1 + self.gates(levels[-1].mean(dim=(2, 3)))
        return torch.cat([eps + gates[:, :, None, None, None] * out[:, 1:], eps], dim=1)

    def scale(self, sigma: Tensor) -> Tensor:
        """s(sigma), of any shape: by how much the squared errors of a pixel count in logits."""
        return self.log_scale.exp()[bin_of(sigma)]


def precondition(x: Tensor, sigma: Tensor, out: Tensor) -> Tensor:
    """The noise in noisy faces x from the network's output (EDM, table 1, data of variance 1): with
    an output of zero what is best for white data, and errors of like size at all levels."""
    sigma = sigma.view(-1, *[1] * (out.ndim - 1))
    return (sigma * x - out * (1 + sigma.square()).sqrt()) / (1 + sigma.square())


def _check_condition(classes: int, head: str, condition: str, labels: Sequence[str]) -> None:
    if head not in HEADS:
        raise ValueError(f"head {head!r}: give {', '.join(HEADS)}")
    if condition not in CONDITIONS or (head == "multi" and condition != "ids"):
        known = ", ".join(CONDITIONS)
        raise ValueError(f"condition {condition!r} of {head}: give {known}, of multi ids alone")
    if (labels or condition == "text") and len(labels) != classes:
        raise ValueError(f"{len(labels)} labels of {classes} classes: give the name of each")
