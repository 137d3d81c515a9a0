"""Every figure against scikit-learn's, or against a table worked by hand."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as oracle

from trainer.compare import metrics
from trainer.compare.metrics import NONE

Table = tuple[NDArray[np.float64], NDArray[np.int64], int]


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Probabilities (n, k) and labels (n,); a class may be missing, an answer never given."""
    n, k, seed = draw(st.integers(1, 60)), draw(st.integers(2, 9)), draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(k, draw(st.sampled_from([0.05, 0.5, 5.0]))), n)
    return p, rng.integers(0, draw(st.integers(1, k)), n), k


@given(tables())
def test_accuracy_confusion_and_recall(table: Table) -> None:
    p, labels, k = table
    predicted = p.argmax(axis=1)
    assert metrics.accuracy(predicted, labels) == pytest.approx(
        oracle.accuracy_score(labels, predicted)
    )
    counts = metrics.confusion_matrix(predicted, labels, k)
    assert np.array_equal(counts, oracle.confusion_matrix(labels, predicted, labels=range(k)))
    wanted = oracle.recall_score(
        labels, predicted, labels=range(k), average=None, zero_division=np.nan
    )
    assert metrics.recall(predicted, labels, k) == pytest.approx(wanted, nan_ok=True)


@given(tables())
def test_macro_f1_over_the_classes_that_occur(table: Table) -> None:
    p, labels, k = table
    predicted, present = p.argmax(axis=1), np.unique(labels)
    wanted = oracle.f1_score(labels, predicted, labels=present, average="macro", zero_division=0)
    assert metrics.macro_f1(predicted, labels, k) == pytest.approx(wanted)


@given(tables())
def test_agreement_with_a_random_rater(table: Table) -> None:
    """The mean over all raters of all faces, each face counting once however many rated it."""
    p, labels, k = table
    rng = np.random.default_rng(len(labels))
    votes, predicted = rng.integers(0, 4, (len(labels), k)), p.argmax(axis=1)
    votes[:, 0] += 1
    wanted = np.mean(
        [np.mean(np.repeat(np.arange(k), votes[i]) == predicted[i]) for i in range(len(labels))]
    )
    assert metrics.rater_agreement(predicted, votes) == pytest.approx(wanted)


def test_agreement_by_hand() -> None:
    """Two of three raters, a face that was not found, one of four, and a face without raters."""
    votes = np.array([[2, 1], [5, 0], [1, 3], [0, 0]])
    predicted = np.array([0, NONE, 0, 1])
    assert metrics.rater_agreement(predicted, votes) == pytest.approx((2 / 3 + 0 + 1 / 4) / 3)
    assert metrics.predicted_share(predicted, 0) == 0.5


@given(tables())
def test_negative_log_likelihood(table: Table) -> None:
    p, labels, k = table
    p = np.maximum(p, 1e-9)
    p /= p.sum(axis=1, keepdims=True)
    wanted = oracle.log_loss(labels, p, labels=range(k))
    assert metrics.negative_log_likelihood(p, labels) == pytest.approx(wanted)


def test_impossible_is_costly_not_infinite() -> None:
    p = np.array([[1.0, 0.0]])
    assert metrics.negative_log_likelihood(p, np.array([1])) == pytest.approx(12 * np.log(10))


def test_no_answer_is_wrong_everywhere() -> None:
    predicted, labels = np.array([0, NONE, NONE, 1]), np.array([0, 0, 1, 1])
    assert metrics.accuracy(predicted, labels) == 0.5
    assert metrics.confusion_matrix(predicted, labels, 2).tolist() == [[1, 0], [0, 1]]
    assert metrics.recall(predicted, labels, 2).tolist() == [0.5, 0.5]
    assert metrics.macro_f1(predicted, labels, 2) == pytest.approx(2 / 3)  # 2 tp / (2 tp + 1 fn)


def test_nobody_answered() -> None:
    predicted, labels = np.full(3, NONE), np.array([0, 1, 1])
    assert metrics.accuracy(predicted, labels) == 0
    assert metrics.macro_f1(predicted, labels, 2) == 0
    assert metrics.recall(predicted, labels, 3)[:2].tolist() == [0, 0]


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55, 1.0, 0.0])
    right = np.array([1, 1, 1, 0, 0, 0, 1, 0], bool)
    # bins of 1/15: (0.95 x 4 and 1.0) share the last, 0.55 x 2 the ninth, 0 the first
    last = abs((4 * 0.95 + 1) / 5 - 4 / 5) * 5 / 8
    assert metrics.expected_calibration_error(confidence, right) == pytest.approx(
        last + 0.55 * 2 / 8
    )


def test_calibration_error_has_fifteen_bins() -> None:
    right = np.array([True, False])
    apart, together = np.array([0.66, 0.67]), np.array([0.67, 0.68])  # 10 / 15 lies between
    assert metrics.expected_calibration_error(apart, right) == pytest.approx((0.34 + 0.67) / 2)
    assert metrics.expected_calibration_error(together, right) == pytest.approx(0.175)


def test_honest_confidence_has_no_calibration_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0, 1, 200_000)
    right = rng.uniform(0, 1, 200_000) < confidence
    assert metrics.expected_calibration_error(confidence, right) < 0.01
    assert metrics.expected_calibration_error(confidence**0.5, right) > 0.1


def test_risk_and_coverage_by_hand() -> None:
    confidence = np.array([0.5, 0.9, 0.7, 0.8, 0.6])
    right = np.array([1, 1, 0, 1, 0], bool)
    reached, risk = metrics.risk_coverage(confidence, right)
    assert reached == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    assert risk == pytest.approx([0, 0, 1 / 3, 2 / 4, 2 / 5])
    for coverage, wanted in ((0.2, 1), (0.21, 1), (0.6, 2 / 3), (0.8, 0.5), (1.0, 0.6)):
        assert metrics.precision_at(confidence, right, coverage) == pytest.approx(wanted)


@given(tables())
def test_at_full_coverage_the_risk_is_the_error(table: Table) -> None:
    p, labels, _ = table
    predicted = p.argmax(axis=1)
    _, risk = metrics.risk_coverage(p.max(axis=1), predicted == labels)
    assert risk[-1] == pytest.approx(1 - metrics.accuracy(predicted, labels))


def test_a_known_difference_lies_in_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two classifiers that differ by 10 points: of 40 samples, nearly all intervals hold it."""
    monkeypatch.setattr(metrics, "BOOTSTRAPS", 500)
    truth, held = 0.8 - _share_below(0.7), 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        luck = rng.uniform(0, 1, 300)
        found = metrics.paired_difference(luck < 0.8, luck + rng.normal(0, 0.2, 300) < 0.7, seed)
        held += found.low <= truth <= found.high
        assert found.low < found.delta < found.high
        assert found.high - found.low < 0.2
    assert held >= 34


def _share_below(threshold: float) -> float:
    rng = np.random.default_rng(99)
    return float((rng.uniform(0, 1, 10**6) + rng.normal(0, 0.2, 10**6) < threshold).mean())


def test_a_against_b_is_b_against_a_turned_round() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.uniform(0, 1, (2, 200)) < 0.6
    there, back = metrics.paired_difference(a, b), metrics.paired_difference(b, a)
    assert (there.delta, there.low, there.high) == pytest.approx(
        (-back.delta, -back.high, -back.low)
    )
    assert metrics.paired_difference(a, a) == metrics.Difference(0, 0, 0)


def test_pairs_count_not_totals() -> None:
    """Always right on the same faces but one: the interval is far narrower than for strangers."""
    right = np.random.default_rng(3).uniform(0, 1, 400) < 0.5
    better = right.copy()
    better[np.flatnonzero(~right)[:20]] = True
    paired = metrics.paired_difference(better, right)
    assert paired.delta == pytest.approx(0.05)
    assert paired.low > 0
    assert paired.high < 0.08


@pytest.fixture(autouse=True)
def _quiet_oracle() -> Any:
    """scikit-learn warns where a class is never answered; that is what is being tested."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
        yield


@pytest.mark.parametrize(
    ("only_a", "only_b"), [(0, 0), (1, 0), (9, 3), (3, 9), (40, 41), (120, 80)]
)
def test_mcnemar_is_the_exact_sign_test_of_what_differs(only_a: int, only_b: int) -> None:
    a = np.repeat([True, True, False, False], [50, only_a, only_b, 7])
    b = np.repeat([True, False, True, False], [50, only_a, only_b, 7])
    n = only_a + only_b
    wanted = stats.binomtest(only_a, n, 0.5).pvalue if n else 1.0
    assert metrics.mcnemar(a, b) == pytest.approx(wanted, rel=1e-9)
