"""From a weights file, or the name of one in the zoo, to a classifier: its card says which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from models.classifier import EmotionClassifier
from models.crops import GEOMETRY
from models.errors import ModelError
from models.folding import folded
from models.registry import family_of
from models.serving import SoftmaxClassifier
from models.weights import ModelCard, read_card, read_state, restore

ZOO = Path(__file__).parent / "zoo"


def zoo_names() -> list[str]:
    """The names of the weights that are shipped."""
    return sorted(path.stem for path in ZOO.glob("*.safetensors"))


def find_weights(name_or_path: str) -> Path:
    """The file of a zoo name, or the path itself; raises ModelError where there is none."""
    if name_or_path in zoo_names():
        return ZOO / f"{name_or_path}.safetensors"
    path = Path(name_or_path)
    if not path.is_file():
        names = " or ".join(["a .safetensors file", *zoo_names()])
        raise ModelError("no such weights", name_or_path or "(nothing)", f"give {names}")
    return path


def build_network(card: ModelCard) -> nn.Module:
    """An untrained network of the card's kind; raises ModelError for a kind unknown here."""
    family = family_of(card)
    try:
        return family.network(classes=len(card.labels), **card.network)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{card.model} cannot be built from {card.network}", card.name, "use other weights"
        ) from error


def load_network(name_or_path: str) -> tuple[nn.Module, ModelCard]:
    """A trained network, in evaluation mode, and its card.

    Raises ModelError for weights that are missing, damaged, or made for other crops than ours.
    """
    path = find_weights(name_or_path)
    card = read_card(path)
    if card.crop != GEOMETRY:
        raise ModelError(
            f"weights for crops of {card.crop!r}", str(path), f"give weights for {GEOMETRY!r}"
        )
    network = build_network(card)
    restore(network, read_state(path), path)
    return network.eval(), card


def load_classifier(name_or_path: str, **options: Any) -> EmotionClassifier:
    """A classifier ready to predict, and to nothing else (see `models.folding`); `options` are
    those of `as_classifier`. Raises ModelError as `load_network` does."""
    network, card = load_network(name_or_path)
    return as_classifier(folded(network), card, **options)


def as_classifier(
    network: nn.Module, card: ModelCard, draws: int = 1, **options: Any
) -> SoftmaxClassifier:
    """A network as the classifier of its family; `options` are the classifier's own (`flip`,
    `device`, `dtype`), `draws` of a family that draws at random."""
    family = family_of(card)
    if family.draws:
        options["draws"] = draws
    return family.classifier(network, card, **options)
