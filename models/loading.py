"""From a weights file, or the name of one in the zoo, to a classifier: its card says which."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from models.baselines.resnet import ResNet18
from models.baselines.softmax import SoftmaxClassifier
from models.classifier import EmotionClassifier
from models.errors import ModelError
from models.weights import ModelCard, read_card, read_state, restore

ZOO = Path(__file__).parent / "zoo"
NETWORKS: dict[str, Callable[..., nn.Module]] = {"resnet18": ResNet18}
"""What a card's `model` may name; the card's `network` holds the keyword arguments."""


def zoo_names() -> list[str]:
    """The names of the weights that are shipped."""
    return sorted(path.stem for path in ZOO.glob("*.safetensors"))


def find_weights(name_or_path: str) -> Path:
    """The file of a zoo name, or the path itself; raises ModelError where there is none."""
    shipped = ZOO / f"{name_or_path}.safetensors"
    if shipped.is_file():
        return shipped
    path = Path(name_or_path)
    if not path.is_file():
        raise ModelError(
            "no such weights", name_or_path, f"give a file or one of {', '.join(zoo_names())}"
        )
    return path


def build_network(card: ModelCard) -> nn.Module:
    """An untrained network of the card's kind; raises ModelError for a kind unknown here."""
    if card.model not in NETWORKS:
        known = ", ".join(sorted(NETWORKS))
        raise ModelError(f"unknown model {card.model!r}", card.name, f"this version knows {known}")
    return NETWORKS[card.model](classes=len(card.labels), **card.network)


def load_classifier(name_or_path: str, **options: Any) -> EmotionClassifier:
    """A classifier ready to predict; `options` are its own (`flip`, `device`)."""
    path = find_weights(name_or_path)
    card = read_card(path)
    network = build_network(card)
    restore(network, read_state(path), path)
    return SoftmaxClassifier(network, card, **options)
