"""Metrics of predictions: accuracy, F1, recall, calibration, risk over coverage, comparisons.

`predicted` and `labels` are (n,) class numbers 0..K-1; NONE (a face that was not found) is always
wrong. Probabilities are (n, K) rows that sum to 1, confidence (n,) in 0..1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Classes = NDArray[np.int64]
Floats = NDArray[np.floating]
NONE = -1
BINS = 15
BOOTSTRAPS = 10_000


def accuracy(predicted: Classes, labels: Classes) -> float:
    """Share of faces whose predicted class is the label."""
    return float((predicted == labels).mean())


def confusion_matrix(predicted: Classes, labels: Classes, k: int) -> NDArray[np.int64]:
    """(k, k) counts of the faces that were found: rows labels, columns predicted classes."""
    found = predicted != NONE
    pairs = labels[found] * k + predicted[found]
    return np.bincount(pairs, minlength=k * k).reshape(k, k)


def recall(predicted: Classes, labels: Classes, k: int) -> NDArray[np.float64]:
    """(k,) share of each class that is predicted right; NaN for a class without faces."""
    right = confusion_matrix(predicted, labels, k).diagonal()
    faces = np.bincount(labels, minlength=k)
    return np.divide(right, faces, out=np.full(k, np.nan), where=faces > 0)


def macro_f1(predicted: Classes, labels: Classes, k: int) -> float:
    """Mean over the classes that occur of 2 tp / (2 tp + fp + fn)."""
    counts = confusion_matrix(predicted, labels, k)
    faces = np.bincount(labels, minlength=k)
    total = counts.sum(axis=0) + faces
    return float((2 * counts.diagonal() / np.maximum(total, 1))[faces > 0].mean())


def predicted_share(predicted: Classes, label: int) -> float:
    """Share of the faces that are predicted as one class."""
    return float((predicted == label).mean())


def rater_agreement(predicted: Classes, votes: NDArray[np.integer]) -> float:
    """How probable it is that one rater of a face, chosen at random, agrees with the prediction.

    votes (n, K): how many raters chose each class; faces without any do not count. With the labels
    for predictions it is how often a rater agrees with the majority: what a person would reach.
    """
    raters = votes.sum(axis=1)
    rated, found = raters > 0, predicted != NONE
    agreeing = np.where(found, votes[np.arange(len(votes)), np.where(found, predicted, 0)], 0)
    return float((agreeing[rated] / raters[rated]).mean())


def negative_log_likelihood(p: Floats, labels: Classes) -> float:
    """Mean of -log p(label), nats."""
    return float(-np.log(np.maximum(p[np.arange(len(labels)), labels], 1e-12)).mean())


def expected_calibration_error(confidence: Floats, right: NDArray[np.bool_]) -> float:
    """Mean |confidence - accuracy| over 15 equal bins of confidence, weighed by faces.

    Guo et al. 2017, arXiv 1706.04599.
    """
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [
        abs(confidence[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean()
        for b in np.unique(bins)
    ]
    return float(sum(gaps))


def risk_coverage(
    confidence: Floats, right: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coverage (n,), and the error (n,) among the faces covered, most confident first."""
    wrong = ~right[np.argsort(-confidence, kind="stable")]
    covered = np.arange(1, len(right) + 1)
    return covered / len(right), wrong.cumsum() / covered


def precision_at(confidence: Floats, right: NDArray[np.bool_], coverage: float) -> float:
    """Share of right predicted among the surest `coverage` (0..1) of the faces."""
    reached, risk = risk_coverage(confidence, right)
    return float(1 - risk[np.searchsorted(reached, coverage)])


def retained_skill(accuracy: float, clean: float, prior: float) -> float:
    """Share of the accuracy beyond a constant guess that a condition leaves: 1 all, 0 nothing.

    `clean` is the accuracy without the condition, `prior` the share of the largest class. NaN where
    there was no such skill.
    """
    return (accuracy - prior) / (clean - prior) if clean != prior else float("nan")


@dataclass(frozen=True)
class Difference:
    """How much more accurate A is than B on the same faces, with its 95 % interval, in shares."""

    delta: float
    low: float
    high: float


def paired_difference(right_a: Floats, right_b: Floats, seed: int = 0) -> Difference:
    """Paired bootstrap over faces. right_a, right_b (n,): whether a face was classified right, or
    the mean of that over conditions."""
    gains = np.asarray(right_a, float) - np.asarray(right_b, float)
    n = len(gains)
    # Faces with equal gains are interchangeable, so it is enough to sample how often each gain
    # occurs: 100 times faster than resampling the faces.
    values, faces = np.unique(gains.round(9), return_counts=True)
    counts = np.random.default_rng(seed).multinomial(n, faces / n, size=BOOTSTRAPS)
    low, high = np.percentile(counts @ values / n, [2.5, 97.5])
    return Difference(float(gains.mean()), float(low), float(high))


def mcnemar(right_a: NDArray[np.bool_], right_b: NDArray[np.bool_]) -> float:
    """The p-value, two-sided and exact, of A being as often right as B under one condition.

    Under that hypothesis each face that only one of them classifies right is equally likely to be
    either's (McNemar 1947). right_a, right_b (n,): whether a face was classified right.

    >>> round(mcnemar(np.arange(20) < 15, np.arange(20) < 10), 4)
    0.0625
    """
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    n = only_a + only_b
    tail = sum(math.comb(n, k) for k in range(min(only_a, only_b) + 1))
    return min(1.0, 2 * tail / 2**n)
