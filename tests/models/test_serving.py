"""From logits, draws and errors to scores: probabilities, each face's own in any batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from models import serving
from models.crops import Crops
from models.errors import ModelError
from models.loading import build_network
from models.model_input import to_model_input
from models.scores import normalised_entropy
from models.serving import (
    Flip,
    SoftmaxClassifier,
    logits_from_errors,
    probabilities_from_logits,
    scores_from_draws,
)
from models.weights import ModelCard

MakeCard = Callable[..., ModelCard]


def classifier(card: ModelCard, flip: Flip = True) -> SoftmaxClassifier:
    """A network drawn at random, its running statistics and head far from their start."""
    torch.manual_seed(5)
    network = build_network(card)
    with torch.no_grad():
        for _ in range(20):
            network(2 * torch.randn(16, card.channels, card.input_px, card.input_px))
        network.get_submodule("head").weight.mul_(4)
    return SoftmaxClassifier(network, card, flip)


@pytest.mark.parametrize("flip", [True, False])
def test_rows_sum_to_one(make_card: MakeCard, crops: Crops, flip: bool) -> None:
    scores = classifier(make_card(), flip).predict(crops)
    assert scores.probabilities.shape == (5, 8)
    assert scores.probabilities.dtype == scores.uncertainty.dtype == np.float32
    np.testing.assert_allclose(scores.probabilities.sum(axis=1), 1, atol=1e-6)
    assert np.array_equal(scores.uncertainty, normalised_entropy(scores.probabilities))
    assert np.ptp(scores.probabilities, axis=0).max() > 0.01  # faces differ


def test_mode_says_the_averaging(make_card: MakeCard) -> None:
    card = make_card()
    modes = [classifier(card, flip).mode for flip in (True, False, "uncertain")]
    assert modes == ["resnet18-flip", "resnet18", "resnet18-flip-uncertain"]


def test_only_uncertain_faces_are_flipped(
    make_card: MakeCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whether one is flipped depends on no other face of the batch."""
    card = make_card()
    crops = np.random.default_rng(3).integers(0, 256, (64, 112, 112, 3), np.uint8)
    alone, both = (classifier(card, flip).predict(crops).probabilities for flip in (False, True))
    best = np.sort(alone, axis=1)
    lead = best[:, -1] - best[:, -2]
    is_uncertain = lead < np.median(lead)
    monkeypatch.setattr(serving, "LEAD", float(np.median(lead)))
    some = classifier(card, "uncertain").predict(crops).probabilities
    assert 0 < is_uncertain.sum() < len(crops)
    np.testing.assert_allclose(some, np.where(is_uncertain[:, None], both, alone), atol=1e-5)
    single = classifier(card, "uncertain")
    each = np.concatenate([single.predict(crop[None]).probabilities for crop in crops])
    np.testing.assert_allclose(each, some, atol=1e-5)


def test_flip_averaging_knows_no_left_and_right(make_card: MakeCard, crops: Crops) -> None:
    mirrored = np.ascontiguousarray(crops[:, :, ::-1])
    both, one = classifier(make_card()), classifier(make_card(), flip=False)
    found = both.predict(crops).probabilities
    np.testing.assert_allclose(both.predict(mirrored).probabilities, found, atol=1e-5)
    alone = one.predict(crops).probabilities
    assert abs(one.predict(mirrored).probabilities - alone).max() > 1e-3
    logits = np.log(alone) + np.log(one.predict(mirrored).probabilities)
    by_hand = np.exp(logits / 2)
    np.testing.assert_allclose(found, by_hand / by_hand.sum(axis=1, keepdims=True), atol=1e-5)


def test_a_face_scores_the_same_in_any_batch(make_card: MakeCard, crops: Crops) -> None:
    asked = classifier(make_card())
    together = asked.predict(crops, np.arange(5)).probabilities
    turned = asked.predict(np.ascontiguousarray(crops[::-1])).probabilities[::-1]
    np.testing.assert_allclose(turned, together, atol=1e-5)
    for row in range(5):
        alone = asked.predict(crops[row : row + 1]).probabilities
        np.testing.assert_allclose(alone, together[row : row + 1], atol=1e-5)


def test_no_crops_no_scores(make_card: MakeCard, crops: Crops) -> None:
    scores = classifier(make_card()).predict(crops[:0])
    assert scores.probabilities.shape == (0, 8)
    assert scores.uncertainty.shape == (0,)


def test_temperature_divides_the_logits(make_card: MakeCard, crops: Crops) -> None:
    card = make_card(temperature=2.5)
    asked = classifier(card)
    with torch.inference_mode():
        logits = asked.logits(to_model_input(crops, card))
    wanted = torch.softmax(logits / 2.5, dim=1).numpy()
    np.testing.assert_allclose(asked.predict(crops).probabilities, wanted, atol=1e-6)
    cooler = classifier(make_card(temperature=1.0)).predict(crops)
    assert (cooler.uncertainty < asked.predict(crops).uncertainty).all()


def test_scores_that_are_not_numbers(make_card: MakeCard, crops: Crops) -> None:
    network = build_network(make_card())
    with torch.no_grad():
        network.get_submodule("head").bias[3] = torch.nan
    with pytest.raises(ModelError, match="scores are not numbers: tiny"):
        SoftmaxClassifier(network, make_card()).predict(crops)


def test_crops_of_another_size(make_card: MakeCard, crops: Crops) -> None:
    with pytest.raises(ModelError, match="crops of shape"):
        classifier(make_card()).predict(crops[:, :100])


def test_errors_of_known_densities_give_their_posterior() -> None:
    """Three Gaussians of equal variance: -log p(x | k) is the squared error over 2, so that the
    posterior of equal priors is known in closed form."""
    rng = np.random.default_rng(0)
    means, x = rng.normal(size=(3, 4)), rng.normal(size=(20, 4))
    squared = ((x[:, None] - means) ** 2).sum(axis=2)
    density = np.exp(-squared / 2)
    expected = density / density.sum(axis=1, keepdims=True)
    draws = torch.from_numpy(np.stack([squared, 3 * squared]))
    for weights in ([0.5, 0.0], [0.2, 0.1], [0.0, 1 / 6]):
        logits = logits_from_errors(draws, torch.tensor(weights))
        np.testing.assert_allclose(probabilities_from_logits(logits, 1.0), expected, atol=1e-5)


def test_the_mean_of_draws_is_less_sure_than_each() -> None:
    scores = scores_from_draws(np.float32([[[1, 0]], [[0, 1]], [[0, 1]], [[1, 0]]]))
    assert scores.probabilities.tolist() == [[0.5, 0.5]]
    assert scores.uncertainty.tolist() == [1.0]
