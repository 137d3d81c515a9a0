"""A card leads to its classifier; what cannot be served is refused with the remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models import loading
from models.crops import Crops, crops_from_tiles
from models.emotions import EMOTIONS
from models.errors import ModelError
from models.loading import build_network, find_weights, load_classifier, zoo_names
from models.serving import SoftmaxClassifier
from models.weights import ModelCard, restore, save, to_stored

MakeCard = Callable[..., ModelCard]
MEBIBYTE = 2**20


def written(path: Path, card: ModelCard, **shape: Any) -> Path:
    torch.manual_seed(0)
    save(path, card, build_network(ModelCard(**(card.__dict__ | shape))).state_dict())
    return path


def test_what_is_loaded_scores_as_what_was_saved(
    tmp_path: Path, make_card: MakeCard, crops: Crops
) -> None:
    card = make_card(temperature=2.0)
    torch.manual_seed(0)
    network = build_network(card)
    save(tmp_path / "w", card, network.state_dict())
    restore(network, to_stored(network.state_dict()), "")
    loaded = load_classifier(str(tmp_path / "w"), flip=False)
    assert loaded.card == card
    assert loaded.mode == "resnet18"
    wanted = SoftmaxClassifier(network, card, flip=False).predict(crops).probabilities
    np.testing.assert_allclose(loaded.predict(crops).probabilities, wanted, atol=1e-6)


def test_a_network_takes_its_classes_from_the_labels(make_card: MakeCard) -> None:
    for labels in (("a", "b", "c"), EMOTIONS):
        network = build_network(make_card(labels=labels))
        assert network(torch.zeros(2, 1, 48, 48)).shape == (2, len(labels))


def test_the_zoo_comes_first_then_the_path(
    tmp_path: Path, make_card: MakeCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "ZOO", tmp_path)
    for name in ("b", "a"):
        written(tmp_path / f"{name}.safetensors", make_card())
    assert zoo_names() == ["a", "b"]
    assert find_weights("a") == tmp_path / "a.safetensors"
    assert find_weights(str(tmp_path / "b.safetensors")) == tmp_path / "b.safetensors"


@pytest.mark.parametrize("name", ["nothing", "", "../a", "."])
def test_missing_weights_name_what_there_is(
    tmp_path: Path, make_card: MakeCard, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(loading, "ZOO", tmp_path / "zoo")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ModelError, match=r"no such weights: .*: give a \.safetensors file$"):
        load_classifier(name)
    written(tmp_path / "zoo" / "good.safetensors", make_card())
    with pytest.raises(ModelError, match=r"give a \.safetensors file or good$"):
        load_classifier(name)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "vgg99"}, "unknown model 'vgg99': tiny: this version knows .*lrdif, "),
        ({"network": {"widht": 4}}, "resnet18 cannot be built from {'widht': 4}"),
        ({"network": {"width": "4"}}, "resnet18 cannot be built"),
        ({"network": {"width": -1}}, "resnet18 cannot be built"),
        ({"network": {"width": 4, "stem_stride": 0}}, "resnet18 cannot be built"),
        ({"network": {"width": 4096}}, "weights of another network"),
        ({"model": "lrdif", "network": {"dt_blocks": 4096}}, "lrdif cannot be built"),
        ({"model": "lrdif", "network": {"steps": 4096}}, "weights of another network"),
        ({"channels": 3}, "the card does not fit its network"),
        ({"crop": "square-1.3"}, "weights for crops of 'square-1.3': .*'square-1.0'"),
        ({"network": {"width": 8, "stem_stride": 2}}, "weights of another network"),
        ({"labels": EMOTIONS[:7]}, "weights of another network"),
    ],
    ids=str,
)
def test_a_card_that_cannot_be_served(
    tmp_path: Path, make_card: MakeCard, changes: dict[str, Any], said: str
) -> None:
    right = {name: getattr(make_card(), name) for name in ("model", "network", "labels")}
    path = written(tmp_path / "w", make_card(**changes), **right)
    with pytest.raises(ModelError, match=said):
        load_classifier(str(path))


def test_everything_in_the_zoo_serves() -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    for name in zoo_names():
        assert find_weights(name).stat().st_size <= 16 * MEBIBYTE
        classifier = load_classifier(name)
        assert classifier.card.labels == EMOTIONS
        assert len(classifier.predict(crops_from_tiles(tiles))) == 3
