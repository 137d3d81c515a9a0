"""EmoDC's network: the noise in a face, as predicted under each emotion and under none."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.emodc.decoder import PATCH, Decoder, from_patches, repeat_under, to_patches
from models.emodc.encoder import EMBEDDING, NoiseResNet18, c_in
from models.emodc.noise import BINS, bin_of

HEADS = ("multi", "split", "cond")
START_SCALE = 0.5
"""Of the errors' sum over pixels: the log-likelihood of noise of variance 1."""


class EmoDC(nn.Module):
    """Noisy faces (n, channels, h, w) and noise levels (n,) -> the noise eps as predicted under
    each of `classes` emotions and, last, under none: (n, classes + 1, channels, h, w).

    `head`: how the emotion enters. `cond`: everywhere, as the abstract's conditional model, one
    evaluation of the network for each emotion. `split`: into the decoder's last level alone, the
    rest is evaluated once. `multi`: all predictions come out of one evaluation (RDC, Chen et al.
    2024, arXiv 2402.02316): eps_k = eps + (1 + a_k) D_k, with a_k from the bottleneck's mean.

    A prediction of the expression sums the errors over `steps` noise levels between `low` and
    `high` (`models.emodc.classifier`). What the sum needs is learned with the weights: the scale
    of a level's errors, `log_scale`, by gradient; `timestep_weights`, each 0 or more, and the
    `log_prior` (classes,) by calibration. Levels are those of `noise.bin_of`. Raises ValueError for
    settings that cannot be.
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
    ) -> None:
        super().__init__()
        if head not in HEADS:
            raise ValueError(f"head {head!r}: give {', '.join(HEADS)}")
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
        else:
            self.descriptions = nn.Embedding(classes + 1, EMBEDDING)
        self.log_scale = nn.Parameter(torch.full((BINS,), START_SCALE).log())
        self.register_buffer("timestep_weights", torch.ones(BINS))
        self.register_buffer("log_prior", torch.zeros(classes))

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
        m, conditions = len(emotions), self.descriptions(emotions)
        if self.head == "cond":
            faces, sigmas = (value.repeat_interleave(m, dim=0) for value in (x, sigma))
            under = conditions.repeat(len(x), 1)
            return torch.unflatten(self._predict(faces, sigmas, under), 0, (-1, m))
        embedded = self.encoder.films.embed(sigma)
        levels = self.encoder.encode(x, sigma)
        risen = self.decoder.rise(levels, to_patches(c_in(x, sigma)), embedded)
        out = from_patches(self.decoder.finish(*repeat_under(risen, embedded, conditions)))
        return precondition(x[:, None], sigma, torch.unflatten(out, 0, (-1, m)))

    def predict_under(self, x: Tensor, sigma: Tensor, emotions: Tensor) -> Tensor:
        """The noise (n, channels, h, w) of each face under an emotion of its own, (n,) int64."""
        if self.head == "multi":
            return self._predict_all(x, sigma)[torch.arange(len(x), device=x.device), emotions]
        conditions = self.descriptions(emotions)
        if self.head == "cond":
            return self._predict(x, sigma, conditions)
        embedded = self.encoder.films.embed(sigma)
        levels = self.encoder.encode(x, sigma)
        risen = self.decoder.rise(levels, to_patches(c_in(x, sigma)), embedded)
        out = from_patches(self.decoder.finish(risen, embedded + conditions))
        return precondition(x, sigma, out)

    def _predict(self, x: Tensor, sigma: Tensor, conditions: Tensor) -> Tensor:
        """Head `cond`: the emotion enters wherever the noise level does."""
        levels = self.encoder.encode(x, sigma, conditions)
        embedded = self.encoder.films.embed(sigma) + conditions
        out = self.decoder(levels, to_patches(c_in(x, sigma)), embedded)
        return precondition(x, sigma, from_patches(out))

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
