"""Opens a weights file, or one of the zoo by its name, as the classifier that its card names."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.crops import CROP_PX, GEOMETRIES
from models.encoders.folders import find_encoder, folder_digest
from models.errors import ModelError
from models.registry import family_of
from models.scores import EmotionClassifier
from models.serving import UNCERTAIN, SoftmaxClassifier
from models.weights import ModelCard, mismatch_error, read_card, read_shapes, read_state, restore

ZOO = Path(__file__).parent / "zoo"
BAD_ARGUMENTS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What torch and our networks raise for arguments out of range."""


def zoo_names() -> list[str]:
    """The names of the shipped weights, sorted."""
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
    except BAD_ARGUMENTS as error:
        raise ModelError(
            f"{card.model} cannot be built from {card.network}", card.name, "use other weights"
        ) from error


def load_network(name_or_path: str) -> tuple[nn.Module, ModelCard]:
    """A trained network, in evaluation mode, and its card.

    Raises ModelError for weights that are missing, damaged, or made for other crops than ours.
    """
    path = find_weights(name_or_path)
    card = read_card(path)
    if card.crop not in GEOMETRIES:
        known = " or ".join(map(repr, GEOMETRIES))
        raise ModelError(
            f"weights for crops of {card.crop!r}", str(path), f"give weights for {known}"
        )
    _check_shapes(card, path)
    _check_encoder(card)
    network = build_network(card)
    restore(network, read_state(path), path)
    return network.eval(), card


def _check_shapes(card: ModelCard, path: Path) -> None:
    """Raises ModelError where the card's network is not the file's, before it takes any memory."""
    if card.network.get("clip"):
        return  # its sizes are those of the folder that the card names
    with torch.device("meta"):
        planned = build_network(card)
    wanted = {name: tuple(tensor.shape) for name, tensor in planned.state_dict().items()}
    if wanted != read_shapes(path):
        raise mismatch_error(planned, path)


def _check_encoder(card: ModelCard) -> None:
    """Raises ModelError where CLIP on this machine is not the one that the weights learned with.

    Encoders that only started the training are part of the weights, and are not looked for.
    """
    name = card.network.get("clip")
    if not name or name not in card.encoders:
        return
    folder = find_encoder(name)
    if folder_digest(folder) != card.encoders[name]:
        raise ModelError(
            "another encoder than the weights were trained with", str(folder), f"fetch {name} again"
        )


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Fold every batch normalisation into the convolution before it; returns the network itself, in
    evaluation mode: the same logits but for rounding, faster, and no longer trainable.

    Relies on a convention of all networks here: where a module lists a normalisation right behind a
    convolution, it also applies the two in this order.
    """
    network.eval()
    for module in list(network.modules()):
        for (name, conv), (next_name, norm) in pairwise(list(module.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(conv, norm))
                setattr(module, next_name, nn.Identity())
    return network


def load_classifier(
    name_or_path: str,
    adapt: Callable[[nn.Module, ModelCard], nn.Module] = lambda network, card: network,
    **options: Any,
) -> EmotionClassifier:
    """A classifier ready to predict, no longer trainable (see `fold_batch_norm`); `options` are
    those of `as_classifier`, and `adapt` gives what runs in the network's place. Raises ModelError
    as `load_network` does, and what `adapt` raises."""
    network, card = load_network(name_or_path)
    network = adapt(fold_batch_norm(network), card)
    classifier = as_classifier(network, card, **options)
    try:
        classifier.predict(np.zeros((1, CROP_PX, CROP_PX, 3), np.uint8))
    except BAD_ARGUMENTS as error:
        raise ModelError(
            f"the card does not fit its network ({str(error)[:200]!r})",
            name_or_path,
            "train the weights again with this version",
        ) from error
    return classifier


def as_classifier(
    network: nn.Module, card: ModelCard, draws: int = 1, **options: Any
) -> SoftmaxClassifier:
    """A network as the classifier of its family; `options` are the classifier's own (`flip`,
    `device`, `dtype`), `draws` of a family that draws at random."""
    family = family_of(card)
    if family.draws:
        options["draws"] = draws
    if options.get("flip") == UNCERTAIN and family.classifier is not SoftmaxClassifier:
        options["flip"] = True  # what it draws, or carries along a track, belongs to both views
    return family.classifier(network, card, **options)
