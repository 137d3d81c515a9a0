"""Ways to combine the observations of a track, by hand and on a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.gru import OBSERVATIONS, train_gru
from benchmarks.track_ways import (
    BASELINE,
    BEFORE,
    KEPT,
    LENGTH,
    answer_in_every_way,
    exponential_mean,
    mean_logits,
    mean_probabilities,
    observe_singly,
    observe_track,
)
from benchmarks.tracks import draw_table, find_change, summarise
from models.lrdif.network import LRDif
from models.lrdif.prior import epr_norm
from models.lrdif.track_prior import Past

LOGITS = np.log(np.array([[[0.9, 0.1]], [[0.3, 0.7]], [[0.3, 0.7]]], np.float32))


def test_means_by_hand() -> None:
    np.testing.assert_allclose(mean_probabilities(LOGITS)[:, 0, 0], [0.9, 0.6, 0.5], atol=1e-6)
    ratio = mean_logits(LOGITS)[:, 0, 0] - mean_logits(LOGITS)[:, 0, 1]
    wanted = np.cumsum(np.log([9, 3 / 7, 3 / 7])) / [1, 2, 3]
    np.testing.assert_allclose(ratio, wanted, atol=1e-5)
    last = KEPT * (KEPT * LOGITS[0] + (1 - KEPT) * LOGITS[1]) + (1 - KEPT) * LOGITS[2]
    np.testing.assert_allclose(exponential_mean(LOGITS)[2], last, atol=1e-6)
    np.testing.assert_array_equal(exponential_mean(LOGITS)[0], LOGITS[0])


def test_a_track_changes_to_another_class() -> None:
    labels = np.array([0, 0, 1, 2, 2, 2])
    change = find_change(labels)
    assert (labels[change] != labels).all()
    assert np.array_equal(change, find_change(labels))
    with pytest.raises(ValueError, match="two classes or more"):
        find_change(np.zeros(3, np.int64))


@pytest.fixture
def network() -> LRDif:
    torch.manual_seed(0)
    made = LRDif(3, trunk=8, prior=12, dropout=0.0)
    with torch.no_grad():
        made.trust.copy_(torch.tensor([0.4, 0.6, 0.7, 0.8]))
        for film in made.former.films:  # type: ignore[union-attr]
            film.weight.normal_(std=0.3)  # type: ignore[union-attr, operator]
    return made.eval()


def observations(n: int = 3, length: int = LENGTH) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(n, 1, 48, 48, generator=generator) for _ in range(length)]


def test_z_is_carried_from_one_observation_to_the_next(network: LRDif) -> None:
    inputs, noise, past = observations(length=3), torch.randn(3, 12), Past.none(3, 12)
    with torch.no_grad():
        logits, pasts = observe_track(network, inputs, noise, past)
        for number, x in enumerate(inputs):
            wanted, past = network.observe(x, noise, past)
            np.testing.assert_allclose(logits[number], wanted.numpy(), atol=1e-5)
            torch.testing.assert_close(pasts[number].z, past.z)
        singles = observe_singly(network, inputs, noise)
    np.testing.assert_allclose(singles[0], logits[0], atol=1e-6)
    assert np.abs(singles[1] - logits[1]).max() > 1e-4


def test_the_mean_of_z_by_hand(network: LRDif) -> None:
    inputs, noise = observations(length=2), torch.randn(3, 12)
    with torch.no_grad():
        _, pasts = observe_track(network, inputs, noise, Past.none(3, 12), mean_of_z=True)
        alone = [network.restore(x, noise) for x in inputs]
    torch.testing.assert_close(pasts[0].z, alone[0])
    torch.testing.assert_close(pasts[1].z, epr_norm(KEPT * alone[0] + (1 - KEPT) * alone[1]))
    assert pasts[1].count.tolist() == [2, 2, 2]


def test_a_track_that_changes_is_the_other_face_from_then_on(network: LRDif) -> None:
    """A track that changes to its own face has not changed."""
    inputs, noise = observations(), torch.randn(3, 12)
    with torch.no_grad():
        stays = answer_in_every_way(network, inputs, noise, np.arange(3))
        moves = answer_in_every_way(network, inputs, noise, np.array([1, 2, 0]))
    assert {"Z carried", "exponential mean of Z", BASELINE} <= set(stays)
    for name, (same, changed) in stays.items():
        np.testing.assert_allclose(same, changed, atol=1e-5, err_msg=name)
        assert same.shape == (LENGTH, 3, 3)
    for name, (same, changed) in moves.items():
        np.testing.assert_allclose(same[:BEFORE], changed[:BEFORE], atol=1e-5)
        assert np.abs(same[BEFORE:] - changed[BEFORE:]).max() > 1e-4, name
    single = moves["each by itself"]
    np.testing.assert_array_equal(single[1][BEFORE:], single[0][BEFORE:, [1, 2, 0]])


def test_weights_without_tracks_have_no_z_to_carry(network: LRDif) -> None:
    with torch.no_grad():
        network.trust[1:] = 0
        found = answer_in_every_way(network, observations(), torch.randn(3, 12), np.arange(3))
    assert not any("Z" in name for name in found)


def test_the_summary_counts_what_is_right() -> None:
    right = np.zeros((LENGTH, 10), bool)
    right[7:, :6] = True
    found = {
        f"w: {BASELINE}": {"same": right, "changed": right},
        "w: better": {"same": np.ones_like(right), "changed": right},
    }
    table = summarise(found, f"w: {BASELINE}")
    assert table[f"w: {BASELINE}"]["same"] == [0, 0, 0, 0.6, 0.6]
    assert table[f"w: {BASELINE}"]["changed"] == [0.6] * 5
    assert table[f"w: {BASELINE}"]["lead"] == [0, 0, 0]
    assert table["w: better"]["lead"][0] == pytest.approx(0.4)
    drawn = draw_table({"udc_p/5": table})
    assert "+40.0" in drawn
    assert drawn.count("\n") == 2


def test_the_gru_learns_to_add_up_and_to_follow_a_change() -> None:
    """Four classes under so much noise that one observation is right in about half of the cases."""
    generator = torch.Generator().manual_seed(0)
    centres = 1.5 * torch.eye(4, 16)

    def draw(labels: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(OBSERVATIONS, len(labels), 16, generator=generator)
        return centres[labels] + noise

    labels = torch.arange(1024) % 4
    targets = torch.nn.functional.one_hot(labels, 4).float()
    gru = train_gru(draw(labels), targets, seed=0, epochs=10)
    features = draw(labels)
    with torch.no_grad():
        right = (gru(features).argmax(dim=2) == labels).float().mean(dim=1)
        changed = torch.cat([features[:4], draw(3 - labels)[:4]])
        after = (gru(changed).argmax(dim=2) == 3 - labels).float().mean(dim=1)
    assert right[7] > right[0] + 0.15
    assert after[7] > after[4] + 0.15
