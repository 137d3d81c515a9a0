"""Classifiers that predict from noisy copies of a face, and the plainest of them: EmoDC's baseline,
the encoder's own predictions of the very faces that EmoDC denoises.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.emodc.cost import Cost, count_multiply_adds
from models.emodc.encoder import NoiseResNet18
from models.emodc.noise import ABOVE_OWN, draw_noise, estimate_own_noise, noise_to_add, timesteps
from models.serving import SoftmaxClassifier
from models.weights import ModelCard

OWN_NOISE = ("ignore", "subtract", "denoise")
AT_ONCE = 64
"""Images of one forward, whatever the batch and the number of steps."""


class NoisyClassifier(SoftmaxClassifier):
    """An `EmotionClassifier` that predicts from noisy copies of a face, the noise drawn by the
    face's id: the same in any batch. The copies are at `steps` noise levels between `low` and
    `high`: the network's, unless they are set to others.

    `own_noise`, what is done about the noise that a face already has: `subtract` starts above it
    and adds only what is missing to each level; `denoise`, of an EmoDC, also compares with the face
    as the network denoises it, at one evaluation more (NDC and APNDC, Chen et al. 2024); `ignore`.
    With `draws` > 1 probabilities are the mean over that many sets of copies. `cost` is that of all
    predictions so far.
    """

    def __init__(
        self,
        network: nn.Module,
        encoder: NoiseResNet18,
        card: ModelCard,
        flip: bool = True,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        draws: int = 1,
        own_noise: str = "subtract",
    ) -> None:
        if draws < 1 or own_noise not in OWN_NOISE:
            known = ", ".join(OWN_NOISE)
            raise ValueError(f"{draws} draws, own noise {own_noise!r}: give 1 or more of {known}")
        super().__init__(network, card, flip, device, dtype)
        name = f"{card.model}-{encoder.steps}"
        self.mode = self.mode.replace(card.model, name, 1) + f"-x{draws}" * (draws > 1)
        self.draws = draws
        self.steps, self.low, self.high = encoder.steps, encoder.low, encoder.high
        self._encoder, self._own_noise = encoder, own_noise
        self.cost = Cost()
        self._at_once = AT_ONCE
        self._multiply_adds: dict[tuple[tuple[int, ...], ...], int] = {}

    def logits(self, x: Tensor, ids: NDArray[np.int64] | None = None, draw: int = 0) -> Tensor:
        """Model input (n, c, px, px) and ids (n,) -> logits (n, K) float32 of one draw, with
        horizontal-flip TTA if `flip` is set; without `ids` every face has id 0."""
        ids = np.zeros(len(x), np.int64) if ids is None else ids
        faces, found = max(self._at_once // self.steps, 1), []
        for start in range(0, len(x), faces):
            part = slice(start, start + faces)
            drawn = [draw_noise(int(i), draw, self.steps, x.shape[1:]) for i in ids[part]]
            noise = torch.from_numpy(np.stack(drawn, axis=1)).to(x.device)
            found.append(self._average_flip(x[part], partial(self.classify, noise=noise)))
        return torch.cat(found)

    @abstractmethod
    def classify(self, x: Tensor, noise: Tensor) -> Tensor:
        """Faces (n, c, h, w) and the noise of each step (steps, n, c, h, w) -> logits (n, K)."""

    def levels(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The noise levels (steps, n) of faces, and the noise (n,) that they already have."""
        own = x.new_zeros(len(x))
        if self._own_noise != "ignore":
            floor = self._encoder.films.own_noise_floor.to(own)
            # In the units in which variances add, less what clean faces have: skin has a texture.
            # Without a gradient: that of a median is one pixel's, and would hide all others from an
            # attacker who follows it (Athalye et al. 2018, arXiv 1802.00420, section 4).
            own = noise_to_add(estimate_own_noise(x.detach().float()), floor.expand(len(x)))
        low = (ABOVE_OWN * own).clamp(min=self.low)
        return timesteps(self.steps, low, self.high), own

    def batches(self, faces: int) -> Iterator[slice]:
        """Steps that are evaluated in one forward."""
        size = max(self._at_once // faces, 1)
        return (slice(start, start + size) for start in range(0, self.steps, size))

    def count(self, images: int, evaluations: int, *inputs: Tensor) -> None:
        """Add `images` forwards, each like that of `inputs`, of one image, and of so many
        evaluations, to the cost."""
        shapes = tuple(tuple(value.shape) for value in inputs)
        if shapes not in self._multiply_adds:
            self._multiply_adds[shapes] = count_multiply_adds(self._network, *inputs)
        self.cost += Cost(evaluations, self._multiply_adds[shapes]) * images


class NoiseResNetClassifier(NoisyClassifier):
    """The mean prediction over a face's noisy copies (randomised smoothing)."""

    _network: NoiseResNet18

    def __init__(
        self, network: NoiseResNet18, card: ModelCard, flip: bool = True, device: str = "cpu",
        dtype: torch.dtype = torch.float32, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(network, network, card, flip, device, dtype, **options)

    def classify(self, x: Tensor, noise: Tensor) -> Tensor:
        """The logarithm of the mean probabilities."""
        sigma, own = self.levels(x)
        each = []
        for steps in self.batches(len(x)):
            noisy = add_noise(x, sigma[steps], own, noise[steps])
            self.count(len(noisy), 1, noisy[:1], sigma[0, :1])
            each.append(self._network(noisy, sigma[steps].flatten()).float())
        return mean_logits(torch.cat(each).view(self.steps, len(x), -1))


def add_noise(x: Tensor, sigma: Tensor, own: Tensor, noise: Tensor) -> Tensor:
    """Faces (n, c, h, w) with noise `own` (n,) at levels (steps, n), by the noise (steps, n, c, h,
    w): (steps n, c, h, w), steps outermost."""
    added = noise_to_add(sigma, own.expand_as(sigma))
    noisy = x + added[:, :, None, None, None] * noise
    return noisy.flatten(0, 1).contiguous(memory_format=torch.channels_last)


def noise_in(noisy: Tensor, clean: Tensor, sigma: Tensor) -> Tensor:
    """The noise in faces (steps n, c, h, w), in units of their levels (steps, n), as far as it is
    known: what differs from `clean` (n, c, h, w)."""
    differs = torch.unflatten(noisy, 0, sigma.shape) - clean
    return (differs / sigma[:, :, None, None, None]).flatten(0, 1)


def mean_logits(logits: Tensor) -> Tensor:
    """Logits (steps, n, K) -> the logarithm of their mean probabilities, (n, K)."""
    steps = torch.tensor(float(len(logits)), device=logits.device)
    return torch.logsumexp(torch.log_softmax(logits, dim=2), dim=0) - steps.log()
