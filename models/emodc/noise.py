"""The arithmetic of a diffusion classifier, free of any network: timesteps, noise and errors.

A timestep is known by its noise level sigma: the noisy face is x + sigma eps, in units of the
network's input (Karras et al. 2022, arXiv 2206.00364). DDPM's sqrt(a) x + sqrt(1 - a) eps is the
same face times a number, with sigma = sqrt((1 - a) / a).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

LEAST_SIGMA, MOST_SIGMA = 0.002, 1.0
"""The noise levels that networks learn: 1 is a quarter of the way from black to white."""
BINS = 16
"""Parts of the noise levels, evenly in log sigma, each with a scale and a weight of its own."""
NORMAL_MEDIAN = 0.6745
"""Median of the absolute value of standard normal noise."""
ABOVE_OWN = 1.5
"""The least noise level of a face, in units of the noise that it already has."""


def sigma_of(alpha_bar: float) -> float:
    """The noise level of a DDPM timestep by its share of signal, in 0..1 without 0.

    >>> sigma_of(0.5)
    1.0
    """
    return math.sqrt((1 - alpha_bar) / alpha_bar)


def timesteps(count: int, low: Tensor, high: float) -> Tensor:
    """Noise levels (count, n) of n faces: the midpoints of `count` parts, evenly in log sigma, of
    what lies between each face's `low` (n,) and `high`.

    A sum of errors over them is a likelihood but for its factor: evenly in log sigma is evenly in
    the log of the signal-to-noise ratio (Kingma & Gao 2023, arXiv 2303.00848).

    >>> [round(sigma, 4) for sigma in timesteps(2, torch.tensor([0.01]), 1.0)[:, 0].tolist()]
    [0.0316, 0.3162]
    """
    share = (torch.arange(count, dtype=low.dtype, device=low.device) + 0.5) / count
    ratio = torch.log(high / low).clamp(min=0)
    return low * torch.exp(share[:, None] * ratio)


def likelihood_weight(count: int, low: float, high: float) -> float:
    """What the sum of D e over `timesteps` is multiplied by for differences of log-likelihoods.

    The log-likelihood is -(D / 2) times the integral of e over the log of the signal-to-noise
    ratio, -2 log sigma, up to what all classes share.
    """
    return math.log(high / low) / count


def draw_noise(face: int, draw: int, count: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Standard normal noise (count, *shape) float32, seeded by a face's id and the number of the
    draw: antithetic, each odd one is minus the one before."""
    key = np.array([face, draw], np.int64).view(np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key))
    pairs = generator.standard_normal(((count + 1) // 2, *shape), np.float32)
    return np.stack([pairs, -pairs], axis=1).reshape(-1, *shape)[:count]


def noise_errors(noise: Tensor, predicted: Tensor) -> Tensor:
    """Mean squared error of noise (n, c, h, w) as predicted under each of K conditions,
    (n, K, c, h, w): (n, K) float32. The noise is the same under all of them."""
    return (predicted.float() - noise.float()[:, None]).square().flatten(2).mean(dim=2)


def relative_errors(noise: Tensor, predicted: Tensor) -> Tensor:
    """`noise_errors` less that of the first condition, (n, K) float32.

    A difference of squares, not of errors: near 1, where float32 has steps of 1e-7, errors of two
    emotions differ by a thousandth.
    """
    predicted, noise = predicted.float(), noise.float()[:, None]
    first = predicted[:, :1]
    return ((predicted - first) * (predicted + first - 2 * noise)).flatten(2).mean(dim=2)


def bin_of(sigma: Tensor, bins: int = BINS) -> Tensor:
    """The bin, int64 in 0..bins - 1, of each noise level; those beyond the ends are of the last.

    >>> bin_of(torch.tensor([0.0, 0.002, 0.0448, 1.0, 2.0])).tolist()
    [0, 0, 8, 15, 15]
    """
    place = torch.log(sigma.clamp(LEAST_SIGMA, MOST_SIGMA) / LEAST_SIGMA)
    return (place / math.log(MOST_SIGMA / LEAST_SIGMA) * bins).long().clamp(0, bins - 1)


def estimate_own_noise(x: Tensor) -> Tensor:
    """Standard deviation (n,) of the white noise that faces (n, c, h, w) already have, in their
    own units: `models.quality.estimate_noise` for a batch."""
    pair = x.new_tensor([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6
    residual = functional.conv2d(x.mean(dim=1, keepdim=True), pair[None, None])
    return residual.abs().flatten(1).median(dim=1).values / NORMAL_MEDIAN


def noise_to_add(sigma: Tensor, own: Tensor) -> Tensor:
    """The noise that brings a face with noise `own` to the level `sigma`, all (n,): variances add,
    and nothing is added where it has more."""
    return (sigma.square() - own.square()).clamp(min=0).sqrt()
