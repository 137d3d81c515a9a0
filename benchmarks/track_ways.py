"""Ways to combine the observations of a track: means of what each says, a GRU, and Z carried along.

Of faces that stay, and of faces that become others after `BEFORE` of `LENGTH` observations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.gru import FeatureGRU, extract_features
from models.lrdif.network import LRDif
from models.lrdif.prior import epr_norm
from models.lrdif.track_prior import Past

BEFORE, LENGTH = 8, 16
KEPT = 0.7
"""Share of what was known in an exponential mean, at each observation."""
BATCH = 128
BASELINE = "mean logits"
Logits = NDArray[np.float32]
"""Of a sequence of observations: (observations, n, K)."""


def mean_probabilities(logits: Logits) -> Logits:
    """The mean of the probabilities so far, at each observation."""
    exponents = np.exp(logits - logits.max(axis=2, keepdims=True))
    return mean_logits(exponents / exponents.sum(axis=2, keepdims=True))


def mean_logits(logits: Logits) -> Logits:
    """The mean of the logits so far, at each observation: what independent noise asks for."""
    counts = np.arange(1, len(logits) + 1, dtype=np.float32)
    mean: Logits = np.cumsum(logits, axis=0) / counts[:, None, None]
    return mean


def exponential_mean(logits: Logits) -> Logits:
    """A mean of the logits that forgets: `KEPT` of what was known at each observation."""
    mean = logits.copy()
    for number in range(1, len(mean)):
        mean[number] = KEPT * mean[number - 1] + (1 - KEPT) * logits[number]
    return mean


WAYS: Mapping[str, Callable[[Logits], Logits]] = {
    "each by itself": lambda logits: logits,
    "mean probabilities": mean_probabilities,
    BASELINE: mean_logits,
    "exponential mean of logits": exponential_mean,
}


def observe_singly(network: nn.Module, inputs: list[Tensor], noise: Tensor) -> Logits:
    """Logits of every observation by itself: inputs (n, c, px, px) of each."""

    def answer(x: Tensor, start: Tensor) -> Tensor:
        logits: Tensor = network(x, start) if isinstance(network, LRDif) else network(x)
        return logits

    return np.stack(
        [
            torch.cat([answer(x, start) for x, start in _batches(each, noise)]).numpy()
            for each in inputs
        ]
    )


def observe_track(
    network: LRDif, inputs: list[Tensor], noise: Tensor, past: Past, mean_of_z: bool = False
) -> tuple[Logits, list[Past]]:
    """Logits of each observation with the Z before it, and the past after each.

    `mean_of_z` restores each Z by itself and keeps an exponential mean of them instead: the
    baseline that has no diffusion along the track.
    """
    logits: list[Logits] = []
    pasts: list[Past] = []
    for x in inputs:
        parts = []
        for rows, (faces, start) in zip(_slices(len(x)), _batches(x, noise), strict=True):
            before = Past(past.z[rows], past.count[rows])
            if not mean_of_z:
                parts.append(network.observe(faces, start, before))
                continue
            encoded, features = network.encode(faces)
            z = network.restorer(features, start)
            known = (before.count > 0)[:, None]
            z = torch.where(known, epr_norm(KEPT * before.z + (1 - KEPT) * z), z)
            trust = network.trust[before.count.clamp(max=len(network.trust) - 1)]
            answer = network.classify(encoded, z, trust[:, None])
            parts.append((answer, Past(z, before.count + 1)))
        logits.append(torch.cat([answer for answer, _ in parts]).numpy())
        past = Past(
            torch.cat([one.z for _, one in parts]), torch.cat([one.count for _, one in parts])
        )
        pasts.append(past)
    return np.stack(logits), pasts


def _slices(n: int) -> list[slice]:
    return [slice(first, first + BATCH) for first in range(0, n, BATCH)]


def _batches(x: Tensor, noise: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for rows in _slices(len(x)):
        yield x[rows].contiguous(memory_format=torch.channels_last), noise[rows]


def answer_in_every_way(
    network: nn.Module,
    inputs: list[Tensor],
    noise: Tensor,
    change: NDArray[np.int64],
    gru: FeatureGRU | None = None,
) -> dict[str, tuple[Logits, Logits]]:
    """By the way: its answers along a track that stays the same face, (LENGTH, n, K), and along one
    that becomes the face of the row `change` after BEFORE observations."""
    singles = observe_singly(network, inputs, noise)
    changed = np.concatenate([singles[:BEFORE], singles[BEFORE:, change]])
    answers = {name: (way(singles), way(changed)) for name, way in WAYS.items()}
    if gru is not None:
        features = extract_features(network, inputs)
        moved = torch.cat([features[:BEFORE], features[BEFORE:, change]])
        answers["GRU on features"] = gru(features).numpy(), gru(moved).numpy()
    if not (isinstance(network, LRDif) and network.carries_z):
        return answers
    for name, mean_of_z in (("Z carried", False), ("exponential mean of Z", True)):
        none = Past.none(len(noise), network.prior)
        logits, pasts = observe_track(network, inputs, noise, none, mean_of_z)
        later = [x[change] for x in inputs[BEFORE:]]
        after, _ = observe_track(network, later, noise, pasts[BEFORE - 1], mean_of_z)
        both = logits, np.concatenate([logits[:BEFORE], after])
        answers[name] = both
        answers[f"{name}, mean logits"] = mean_logits(both[0]), mean_logits(both[1])
    return answers
