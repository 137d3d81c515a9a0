"""Logit adjustment: exact on the logits, and Bayes' rule where the posterior is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from models.emodc.network import EmoDC
from models.errors import ModelError
from models.loading import ZOO, as_classifier, build_network, load_network
from models.weights import ModelCard
from trainer.data.faceset import FaceSet
from trainer.inputs import build_inputs
from trainer.prior_adjustment import adjust_prior


@pytest.mark.parametrize("weight", [0.2, 1.0])
def test_the_logits_move_by_the_logarithm_of_the_shares(
    tiny_card: ModelCard, make_faces: Callable[..., FaceSet], weight: float
) -> None:
    torch.manual_seed(0)
    card = replace(tiny_card, temperature=1.5)
    faces, network = make_faces(60), build_network(card)
    faces = replace(faces, labels=np.minimum(faces.labels, 6))  # class 7 has no face
    x = build_inputs(faces, card)
    before = as_classifier(network, card).logits(x)
    adjusted = adjust_prior(network, card, faces, weight)
    after = as_classifier(network, adjusted).logits(x)
    counts = np.bincount(faces.labels, minlength=8).clip(min=1)
    wanted = -weight * 1.5 * np.log(counts / counts.sum())
    shift = (after - before).detach().numpy()
    assert shift == pytest.approx(np.tile(wanted, (60, 1)), abs=1e-2)
    assert adjusted.recipe["logit_adjustment"] == weight
    again = adjust_prior(network, adjusted, faces, 0.1)
    assert again.recipe["logit_adjustment"] == pytest.approx(weight + 0.1)


def test_without_its_prior_a_posterior_is_a_likelihood(
    tiny_card: ModelCard, make_faces: Callable[..., FaceSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two Gaussians of unit variance at -1 and 1, nine to one: Bayes' rule puts the border at
    log(9) / 2, the likelihoods at 0."""
    card = replace(tiny_card, labels=("a", "b"), temperature=1.0)
    posterior = nn.Linear(1, 2)
    with torch.no_grad():
        posterior.weight.copy_(torch.tensor([[-1.0], [1.0]]))
        posterior.bias.copy_(torch.tensor([0.9, 0.1]).log())
    faces = make_faces(100, classes=("a", "b"))
    faces = replace(faces, labels=np.repeat([0, 1], [90, 10]))
    monkeypatch.setattr(
        "trainer.prior_adjustment._logits", lambda network, card, faces: network(torch.ones(8, 1))
    )
    border = np.log(9) / 2
    x = torch.tensor([[-0.1], [0.1], [border - 0.1], [border + 0.1]], dtype=torch.float32)
    assert posterior(x).argmax(dim=1).tolist() == [0, 0, 0, 1]
    adjust_prior(posterior, card, faces, 1.0)
    assert posterior(x).argmax(dim=1).tolist() == [0, 1, 1, 1]


def test_logits_that_are_errors_of_a_denoiser_are_refused(
    make_faces: Callable[..., FaceSet], tiny_card: ModelCard
) -> None:
    network = {"head": "multi", "width": 8, "dropout": 0.0}
    card = replace(tiny_card, model="emodc", network=network)
    emodc = build_network(card).eval()
    assert isinstance(emodc, EmoDC)
    with pytest.raises(ModelError, match="do not come from one linear layer"):
        adjust_prior(emodc, card, make_faces(16), 0.2)


@pytest.mark.parametrize("name", ["resnet18-w36", "lrdif"])
def test_the_shipped_families_can_be_adjusted(
    name: str, make_faces: Callable[..., FaceSet]
) -> None:
    network, card = load_network(str(ZOO / f"{name}.safetensors"))
    assert adjust_prior(network, card, make_faces(16), 0.2).recipe["logit_adjustment"] == 0.2
