"""A round judges every face by a network that never saw it, and changes targets, never labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from models.drfer.network import DRFER, to_embeddings
from trainer.data.faceset import FaceSet
from trainer.errors import OptionError
from trainer.objectives.drfer.rounds import (
    Judgement,
    RoundSettings,
    fold_by_pixels,
    judge,
    measure_round,
    update_table,
)
from trainer.samples import SampleTable

N, K = 1200, 3


def make_round(seed: int = 0) -> tuple[SampleTable, Judgement, Tensor, Tensor]:
    """A table whose labels are wrong for a fifth, what a good network gives for its faces, folds,
    and the truth."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    truth = torch.arange(N) % K
    is_wrong = torch.rand(N, generator=generator) < 0.2
    labels = torch.where(is_wrong, (truth + 1) % K, truth)
    votes = torch.nn.functional.one_hot(labels, K).float()
    points = 3 * torch.eye(K, 8)[truth] + torch.randn(N, 8, generator=generator)
    probabilities = torch.softmax(points[:, :K] * 1.5, dim=1)
    judged = Judgement(probabilities, to_embeddings(points))
    table = SampleTable(
        torch.arange(N), votes, votes.clone(), torch.ones(N), torch.ones(N), torch.zeros(N)
    )
    return table, judged, torch.randint(2, (N,), generator=generator), truth


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("retrieval", ["ap", "knn", "none"])
def test_targets_are_nearer_to_the_truth_than_labels_are(hard: bool, retrieval: str) -> None:
    table, judged, folds, truth = make_round()
    settings = RoundSettings(hard=hard, retrieval=retrieval)
    labels = table.votes.clone()
    for progress in (0.0, 0.5, 1.0):
        retrieved = update_table(table, judged, folds, settings, progress)
    assert torch.equal(table.votes, labels)
    assert torch.allclose(table.targets.sum(dim=1), torch.ones(N), atol=1e-5)
    assert table.kept["losses"].shape == (3, N)
    metrics = measure_round(table, retrieved, truth, ("a", "b", "c"))
    assert metrics["split_auc"] >= 0.9
    assert {"clean_a", "clean_b", "clean_c"} <= metrics.keys()
    is_clean = table.kept["is_clean"]
    if hard:
        assert torch.equal(table.targets[is_clean], labels[is_clean])
        assert torch.equal(table.targets[~is_clean], retrieved[~is_clean])
    if retrieval != "none":
        assert metrics["retrieved_right"] >= 0.8
        assert metrics["targets_right"] >= 0.9
        assert metrics["relabelled_right"] >= 0.7


def test_the_soft_target_is_the_formula() -> None:
    table, judged, folds, _ = make_round()
    retrieved = update_table(table, judged, folds, RoundSettings(), 0.0)
    p = table.p_clean[:, None]
    expected = p * table.votes + (1 - p) * (0.5 * retrieved + 0.5 * judged.probabilities)
    assert torch.allclose(table.targets, expected, atol=1e-6)
    other = Judgement(judged.probabilities.flip(1), judged.embeddings)
    update_table(table, other, folds, RoundSettings(), 0.0)
    mean = 0.7 * judged.probabilities + 0.3 * other.probabilities
    assert torch.allclose(table.kept["predictions"], mean, atol=1e-6)


def test_an_ambiguous_face_that_is_predicted_as_it_was_voted_is_not_noisy() -> None:
    table, judged, folds, _ = make_round()
    table.votes[:60] = judged.probabilities[:60] = torch.tensor([0.5, 0.5, 0.0])
    update_table(table, judged, folds, RoundSettings(), 0.0)
    assert table.kept["losses"][0, :60].abs().max() < 1e-5
    assert table.p_clean[:60].min() > 0.9


def test_the_threshold_falls_over_the_rounds() -> None:
    counts = []
    for progress in (0.0, 1.0):
        table, judged, folds, _ = make_round()
        update_table(table, judged, folds, RoundSettings(), progress)
        least = 0.8 - 0.4 * progress
        assert table.kept["is_clean"][table.p_clean > least].all()
        counts.append(int(table.kept["is_clean"].sum()))
    assert counts[0] < counts[1]


def test_a_face_retrieves_in_its_own_fold_alone() -> None:
    """The embeddings of the other fold are another network's, and mean nothing to it."""
    table, judged, folds, _ = make_round()
    other = judged.embeddings.clone()
    other[folds == 1] = to_embeddings(torch.randn(int((folds == 1).sum()), 8))
    found = []
    for embeddings in (judged.embeddings, other):
        table, _, _, _ = make_round()
        changed = Judgement(judged.probabilities, embeddings)
        found.append(update_table(table, changed, folds, RoundSettings(), 0.0))
    assert torch.equal(found[0][folds == 0], found[1][folds == 0])
    assert not torch.equal(found[0][folds == 1], found[1][folds == 1])


def test_the_other_network_judges() -> None:
    torch.manual_seed(0)
    networks = [DRFER(4, width=8, stem_stride=2, embedding=8).eval() for _ in range(2)]
    inputs, folds = torch.randn(10, 1, 16, 16), torch.arange(10) % 3 % 2
    judged = judge(networks, folds, inputs)
    with torch.no_grad():
        each = [torch.softmax(network(inputs), dim=1) for network in networks]
    expected = torch.where(folds[:, None] == 0, each[1], each[0])
    assert torch.allclose(judged.probabilities, expected, atol=1e-5)
    alone = judge(networks[:1], torch.zeros(10).long(), inputs)
    assert torch.allclose(alone.probabilities, each[0], atol=1e-5)
    assert judged.embeddings.shape == (10, 16)


def test_equal_pixels_are_in_one_fold(make_faces: Callable[..., FaceSet]) -> None:
    faces = make_faces(300)
    faces.tiles[150:] = faces.tiles[:150]
    folds = fold_by_pixels(faces, 2)
    assert torch.equal(folds[150:], folds[:150])
    assert float(folds[:150].float().mean()) == pytest.approx(0.5, abs=0.15)
    order = np.random.default_rng(0).permutation(300)
    assert torch.equal(fold_by_pixels(faces[order], 2), folds[torch.from_numpy(order)])
    assert (fold_by_pixels(faces, 1) == 0).all()


def test_without_wrong_labels_nothing_is_measured_of_them() -> None:
    table, judged, folds, _ = make_round()
    retrieved = update_table(table, judged, folds, RoundSettings(), 0.0)
    for truth in (None, table.votes.argmax(dim=1)):
        assert "split_auc" not in measure_round(table, retrieved, truth, ("a", "b", "c"))


def test_an_unknown_retrieval() -> None:
    with pytest.raises(OptionError, match="retrieval 'map': drfer: give ap, knn, none"):
        replace(RoundSettings(), retrieval="map")
