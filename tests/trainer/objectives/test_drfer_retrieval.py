"""AP is that of sklearn, a balanced gallery has no favourite, and faces find their kind."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor
from torch.nn import functional

from trainer.objectives.drfer.retrieval import (
    average_precisions,
    retrieve_by_precision,
    retrieve_neighbours,
    sample_gallery,
    to_soft_labels,
)


def make_rankings(queries: int = 6, size: int = 80, classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (size,), generator=generator)
    return torch.randn(queries, size, generator=generator, dtype=torch.float64), labels


def test_it_is_that_of_sklearn() -> None:
    similarities, labels = make_rankings()
    found = average_precisions(similarities, labels, 5)
    for query, scores in enumerate(similarities):
        for label in range(5):
            expected = average_precision_score((labels == label).numpy(), scores.numpy())
            assert float(found[query, label]) == pytest.approx(expected, abs=1e-12)
    monotone = average_precisions((similarities * 3).exp(), labels, 5)
    assert torch.equal(monotone, found)


def test_a_face_that_is_the_query_counts_neither_as_hit_nor_as_rank() -> None:
    similarities, labels = make_rankings()
    without = similarities.clone()
    without[:, 7] = -torch.inf
    rest = torch.arange(80) != 7
    expected = average_precisions(similarities[:, rest], labels[rest], 5)
    assert torch.allclose(average_precisions(without, labels, 5), expected, atol=1e-12)


def test_perfect_rankings_and_rankings_of_the_top_alone() -> None:
    labels = torch.tensor([2, 2, 0, 1, 0, 0])
    similarities = torch.tensor([[6.0, 5, 4, 3, 2, 1]])
    found = average_precisions(similarities, labels, 4)
    assert found[0].tolist() == pytest.approx([(1 / 3 + 2 / 5 + 3 / 6) / 3, 1 / 4, 1, 0])
    top = average_precisions(similarities, labels, 4, top=3)
    assert top[0].tolist() == pytest.approx([(1 / 3) / 3, 0, 1, 0])  # zeros, as on the poster
    assert average_precisions(similarities, labels, 4, top=1)[0].tolist() == [0, 0, 1, 0]


def test_a_balanced_gallery_has_no_favourite() -> None:
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(1)
    labels = torch.multinomial(torch.tensor([0.7, 0.2, 0.1]), 6000, True, generator=generator)
    gallery = sample_gallery(torch.ones(6000, dtype=torch.bool), labels, 3, 40)
    assert torch.bincount(labels[gallery]).tolist() == [40, 40, 40]
    queries = torch.randn(800, 6000, generator=generator)
    soft = to_soft_labels(average_precisions(queries[:, gallery], labels[gallery], 3), 0.5)
    error = soft.std(dim=0) / 800**0.5
    assert ((soft.mean(dim=0) - 1 / 3).abs() < 3 * error).all()
    every = to_soft_labels(average_precisions(queries[:, :300], labels[:300], 3), 1.0)
    assert every.mean(dim=0)[0] > 0.6  # what a gallery as imbalanced as the data would say


def test_galleries_are_as_large_as_their_rarest_class_or_as_requested() -> None:
    labels = torch.tensor([0] * 10 + [1] * 4 + [3] * 6)
    is_clean = torch.arange(20) != 0
    rows = sample_gallery(is_clean, labels, 5)
    assert torch.bincount(labels[rows], minlength=5).tolist() == [4, 4, 0, 4, 0]
    assert len(set(rows.tolist())) == 12
    assert 0 not in rows
    rows = sample_gallery(is_clean, labels, 5, 6)
    assert torch.bincount(labels[rows], minlength=5).tolist() == [6, 6, 0, 6, 0]
    assert len(sample_gallery(is_clean & False, labels, 5)) == 0


@pytest.mark.parametrize("kind", ["ap", "knn"])
def test_wrong_labels_are_found_out(kind: str) -> None:
    """Three frequent classes and a rare one; a fifth of the labels is wrong, also in the gallery;
    the class is retrieved, not the label."""
    generator = torch.Generator().manual_seed(2)
    torch.manual_seed(2)
    truth = torch.repeat_interleave(torch.arange(4), torch.tensor([900, 700, 500, 60]))
    centres = torch.randn(4, 16, generator=generator)
    points = centres[truth] + 0.7 * torch.randn(len(truth), 16, generator=generator)
    embeddings = functional.normalize(points, dim=1)
    is_wrong = torch.rand(len(truth), generator=generator) < 0.2
    labels = torch.where(is_wrong, (truth + 1) % 4, truth)
    is_clean = ~is_wrong | (torch.rand(len(truth), generator=generator) < 0.1)
    if kind == "ap":
        gallery = sample_gallery(is_clean, labels, 4, 100)
        found = retrieve_by_precision(embeddings, labels, gallery, 4, 0.5)
    else:
        every = is_clean.nonzero()[:, 0]
        found = retrieve_neighbours(embeddings, labels, every, 4, torch.ones(len(truth)))
    assert torch.allclose(found.sum(dim=1), torch.ones(len(truth)), atol=1e-5)
    is_right = found.argmax(dim=1) == truth
    for label in range(3):
        assert is_right[is_wrong & (truth == label)].float().mean() >= 0.7


def test_no_face_votes_for_itself() -> None:
    """Two faces alone in the gallery: each retrieves the other one's label."""
    embeddings = functional.normalize(torch.randn(2, 8), dim=1)
    labels, gallery = torch.tensor([0, 1]), torch.tensor([0, 1])
    found = retrieve_by_precision(embeddings, labels, gallery, 2, 1.0)
    assert found.argmax(dim=1).tolist() == [1, 0]
    found = retrieve_neighbours(embeddings, labels, gallery, 2, torch.ones(2))
    assert found.argmax(dim=1).tolist() == [1, 0]
