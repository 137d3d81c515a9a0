"""What is said of predictions: accuracy, F1, recall, calibration, risk over coverage, comparisons.

Probabilities are (n, K) rows that sum to 1, labels (n,) class numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.floating]
Labels = NDArray[np.int64]
BINS = 15
BOOTSTRAPS = 10_000


def accuracy(p: Probabilities, y: Labels) -> float:
    """Share of faces whose likeliest class is the label."""
    return float((p.argmax(axis=1) == y).mean())


def confusion(p: Probabilities, y: Labels) -> NDArray[np.int64]:
    """(K, K) counts, rows the labels, columns the answers."""
    k = p.shape[1]
    return np.bincount(y * k + p.argmax(axis=1), minlength=k * k).reshape(k, k)


def recall(p: Probabilities, y: Labels) -> NDArray[np.float64]:
    """(K,) share of each class that is found; NaN for a class without faces."""
    counts = confusion(p, y)
    with np.errstate(invalid="ignore"):
        return counts.diagonal() / counts.sum(axis=1)


def macro_f1(p: Probabilities, y: Labels) -> float:
    """Mean over the classes that occur of 2 tp / (2 tp + fp + fn)."""
    counts = confusion(p, y)
    total = counts.sum(axis=0) + counts.sum(axis=1)
    occurs = counts.sum(axis=1) > 0
    return float((2 * counts.diagonal()[occurs] / total[occurs]).mean())


def negative_log_likelihood(p: Probabilities, y: Labels) -> float:
    """Mean of -log p(label), nats."""
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], 1e-12)).mean())


def expected_calibration_error(p: Probabilities, y: Labels) -> float:
    """Mean |confidence - accuracy| over 15 equal bins of confidence, weighed by faces.

    Guo et al. 2017, arXiv 1706.04599.
    """
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [
        abs(confidence[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean()
        for b in np.unique(bins)
    ]
    return float(sum(gaps))


def risk_coverage(p: Probabilities, y: Labels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coverage (n,) and the error among the faces answered at it, the surest first."""
    order = np.argsort(-p.max(axis=1), kind="stable")
    wrong = (p.argmax(axis=1) != y)[order]
    answered = np.arange(1, len(y) + 1)
    return answered / len(y), wrong.cumsum() / answered


def precision_at(p: Probabilities, y: Labels, coverage: float) -> float:
    """Share of right answers among the surest `coverage` (0..1) of the faces."""
    reached, risk = risk_coverage(p, y)
    return float(1 - risk[np.searchsorted(reached, coverage)])


@dataclass(frozen=True)
class Difference:
    """How much more accurate A is than B on the same faces, with its 95 % interval, in shares."""

    delta: float
    low: float
    high: float


def paired_difference(
    right_a: NDArray[np.floating], right_b: NDArray[np.floating], seed: int = 0
) -> Difference:
    """Paired bootstrap over faces. right_a, right_b (n,): a face's correctness, or its mean over
    conditions."""
    gains = np.asarray(right_a, float) - np.asarray(right_b, float)
    rng = np.random.default_rng(seed)
    means = [rng.choice(gains, len(gains)).mean() for _ in range(BOOTSTRAPS)]
    low, high = np.percentile(means, [2.5, 97.5])
    return Difference(float(gains.mean()), float(low), float(high))
