"""Z along a track: without a past the plain reverse process, with one fewer steps from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.crops import GEOMETRY, Crops
from models.emotions import EMOTIONS
from models.lrdif.classifier import LRDifClassifier, draw_noise
from models.lrdif.network import LRDif
from models.lrdif.prior import epr_norm
from models.lrdif.track_prior import Past, pack_states, unpack_states
from models.lrdif.trunk import ModulatedResNet
from models.model_input import to_model_input
from models.weights import ModelCard
from pipeline.frames import MAX_STATE_BYTES, ClassifyReply, ClassifyRequest, TrackState
from pipeline.stages.classify import RouteClassifier, StatefulClassifier

PRIOR = 12


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make_network(trust: tuple[float, ...] = (0.4, 0.6, 0.7, 0.8), prior: int = PRIOR) -> LRDif:
    """Modulation and statistics as after training."""
    torch.manual_seed(0)
    network = LRDif(8, trunk=8, prior=prior, dropout=0.0)
    assert isinstance(network.former, ModulatedResNet)
    with torch.no_grad():
        for _ in range(4):
            network(2 * torch.randn(16, 1, 48, 48), torch.randn(16, prior))
        for film in network.former.films:
            assert isinstance(film, nn.Linear)
            film.weight.normal_(std=0.3)
        network.trust.copy_(torch.tensor(trust))
    return network.eval()


def make_classifier(network: LRDif, **options: object) -> LRDifClassifier:
    settings = {"trunk": 8, "prior": network.prior, "dropout": 0.0}
    card = ModelCard(
        *("tiny", "lrdif", settings, EMOTIONS, 48, 1, (0.5,), (0.25,), GEOMETRY, "made", "none")
    )
    return LRDifClassifier(network, card, **options)  # type: ignore[arg-type]


def make_crops(n: int, seed: int = 0) -> Crops:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 112, 112, 3), dtype=np.uint8)


def test_without_a_past_it_is_the_network_of_single_faces() -> None:
    network = make_network()
    x, noise = randn(4, 1, 48, 48), randn(4, PRIOR, seed=1)
    with torch.no_grad():
        logits, now = network.observe(x, noise, Past.none(4, PRIOR))
        assert torch.equal(logits, network(x, noise))
        assert torch.equal(now.z, network.restore(x, noise))
    assert now.count.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_with_a_past_it_takes_fewer_steps_from_it(count: int) -> None:
    """A slow reference: the reverse process written out, from the level of that count."""
    network = make_network()
    diffusion, restorer = network.diffusion, network.restorer
    x, noise, z = randn(4, 1, 48, 48), randn(4, PRIOR, seed=1), epr_norm(randn(4, PRIOR, seed=2))
    level = max(4 - count, 1)
    with torch.no_grad():
        logits, now = network.observe(x, noise, Past(z, torch.full((4,), count)))
        maps, features = network.encode(x)
        condition = restorer.fpen(features)
        assert restorer.denoiser is not None
        share = diffusion.alpha_bars[level]
        current = share**0.5 * z + (1 - share) ** 0.5 * noise
        for t in range(level, 0, -1):
            a, b, _ = diffusion.posterior(t)
            current = a * epr_norm(restorer.denoiser(condition, current, t)) + b * current
        torch.testing.assert_close(now.z, current, atol=1e-5, rtol=1e-5)
        trusted = network.trust[min(count, 3)].expand(4, 1)
        torch.testing.assert_close(logits, network.classify(maps, current, trusted))
    assert now.count.tolist() == [count + 1] * 4


def test_tracks_of_different_length_share_a_batch() -> None:
    network = make_network()
    x, noise, z = randn(4, 1, 48, 48), randn(4, PRIOR, seed=1), epr_norm(randn(4, PRIOR, seed=2))
    counts = torch.tensor([0, 1, 2, 9])
    with torch.no_grad():
        together, now = network.observe(x, noise, Past(z, counts))
        for row, count in enumerate(counts.tolist()):
            one = slice(row, row + 1)
            alone, then = network.observe(x[one], noise[one], Past(z[one], counts[one]))
            torch.testing.assert_close(together[one], alone, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(now.z[one], then.z, atol=1e-5, rtol=1e-5)
            assert now.count[row] == count + 1


def test_a_forgotten_past_does_not_count() -> None:
    network = make_network()
    x, noise, z = randn(2, 1, 48, 48), randn(2, PRIOR, seed=1), epr_norm(randn(2, PRIOR, seed=2))
    past = Past(z, torch.tensor([3, 3])).select(torch.tensor([True, False]))
    with torch.no_grad():
        logits, now = network.observe(x, noise, past)
        fresh = network(x, noise)
    torch.testing.assert_close(logits[1], fresh[1])
    assert (logits[0] - fresh[0]).abs().max() > 1e-3
    assert now.count.tolist() == [4, 1]


def test_a_state_holds_what_was_seen_so_far() -> None:
    views = [Past(epr_norm(randn(3, 64, seed=seed)), torch.tensor([1, 2, 300])) for seed in (1, 2)]
    states = pack_states(views)
    assert {len(state) for state in states} == {257}
    assert max(len(state) for state in states) <= MAX_STATE_BYTES
    for view, found in zip(views, unpack_states(states, 2, 64), strict=True):
        torch.testing.assert_close(found.z, view.z, atol=2e-3, rtol=1e-3)
        assert found.count.tolist() == [1, 2, 255]


CUT_SHORT = bytes([2]) + bytes(2 * 2 * PRIOR - 1)
NOT_NUMBERS = bytes([2]) + np.full(2 * PRIOR, np.nan, "<f2").tobytes()


@pytest.mark.parametrize("damaged", [b"", b"\x01", CUT_SHORT, NOT_NUMBERS])
def test_what_is_no_state_is_no_past(damaged: bytes) -> None:
    good = pack_states([Past(torch.ones(1, PRIOR), torch.tensor([2]))] * 2)
    found = unpack_states([damaged, *good], 2, PRIOR)
    assert [past.count.tolist() for past in found] == [[0, 2], [0, 2]]
    assert not found[0].z[0].any()


@pytest.mark.parametrize("flip", [True, False])
def test_the_classifier_goes_on_from_its_own_states(flip: bool) -> None:
    network = make_network()
    classifier = make_classifier(network, flip=flip)
    crops, ids = make_crops(3), np.array([7, 8, 9])
    first, states = classifier.predict_with_state(crops, ids, [b""] * 3)
    alone = classifier.predict(crops, ids)
    np.testing.assert_allclose(first.probabilities, alone.probabilities, atol=1e-6)
    later, kept = classifier.predict_with_state(crops, ids, states)
    assert np.abs(later.probabilities - first.probabilities).max() > 1e-3
    assert [state[0] for state in states] == [1, 1, 1]
    assert [state[0] for state in kept] == [2, 2, 2]
    x = to_model_input(crops, classifier.card)
    noise = torch.from_numpy(np.stack([draw_noise(int(face), 0, 1, PRIOR)[0] for face in ids]))
    logits = []
    for view, past in zip((x, x.flip(3))[: 1 + flip], unpack_states(states, 1 + flip, PRIOR),
                          strict=True):  # fmt: skip
        with torch.no_grad():
            logits.append(network.observe(view, noise, past)[0])
    wanted = torch.softmax(torch.stack(logits).mean(dim=0), dim=1).numpy()
    np.testing.assert_allclose(later.probabilities, wanted, atol=1e-5)


def test_a_track_is_answered_alike_in_any_batch() -> None:
    classifier = make_classifier(make_network())
    crops, ids = make_crops(3), np.array([7, 8, 9])
    _, states = classifier.predict_with_state(crops, ids, [b""] * 3)
    together, kept = classifier.predict_with_state(crops, ids, [states[0], b"", states[2]])
    for row in range(3):
        one = slice(row, row + 1)
        given = [b"" if row == 1 else states[row]]
        alone, own = classifier.predict_with_state(crops[one], ids[one], given)
        np.testing.assert_allclose(alone.probabilities[0], together.probabilities[row], atol=1e-5)
        assert own[0][0] == kept[row][0] == (1 if row == 1 else 2)


def test_weights_that_never_learned_tracks_keep_nothing() -> None:
    classifier = make_classifier(make_network((0.4, 0, 0, 0)))
    crops, ids = make_crops(2), np.array([1, 2])
    scores, states = classifier.predict_with_state(crops, ids, [b"", b"\x01" * 49])
    assert list(states) == [b"", b""]
    np.testing.assert_array_equal(
        scores.probabilities, classifier.predict(crops, ids).probabilities
    )


def test_no_faces_are_no_states() -> None:
    classifier = make_classifier(make_network())
    none = np.zeros((0, 112, 112, 3), np.uint8)
    scores, states = classifier.predict_with_state(none, np.zeros(0, np.int64), [])
    assert len(scores.probabilities) == len(states) == 0


def test_a_route_hands_the_states_on() -> None:
    classifier = make_classifier(make_network())
    assert isinstance(classifier, StatefulClassifier)
    route, crops = RouteClassifier(classifier), make_crops(2)

    def classify(states: tuple[TrackState | None, ...]) -> ClassifyReply:
        return route.classify(ClassifyRequest(crops, np.arange(2), (), states))

    first, fresh = classify(()), classify(())
    second = classify(first.states)
    assert [state.data[0] for state in second.states if state] == [2, 2]
    np.testing.assert_array_equal(first.scores.probabilities, fresh.scores.probabilities)
    assert np.abs(second.scores.probabilities - first.scores.probabilities).max() > 1e-3
