"""Pretrained encoders that a network starts from: which file, and where its weights go."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from models.encoders import dlib_face
from models.encoders.folders import digest_of, find_encoder, folder_digest
from models.loading import find_weights, load_network, zoo_names
from models.weights import ModelCard, State
from trainer.errors import DataError
from trainer.recipes import Recipe

OF_CLASSES = re.compile(r"(^|\.)(head\.(weight|bias)|log_prior)$")
"""Tensors with a row for each class."""
KEEPS_START = re.compile(rf"(^|\.)films\.|(^|\.)composition\.|{OF_CLASSES.pattern}")


@dataclass(frozen=True)
class Encoder:
    """`find` gives the file of its weights, `load` puts them into a network with this card."""

    find: Callable[[], Path]
    load: Callable[[nn.Module, ModelCard], None]


def _load_dlib_face(network: nn.Module, card: ModelCard) -> None:
    trunk = getattr(network, "trunk", None)
    if not isinstance(trunk, dlib_face.DlibFaceTrunk) or card.channels != 1:
        what = f"{card.model} with {card.channels} channels has no trunk for dlib's face network"
        raise DataError(what, card.name, "leave recipe.encoder out")
    state, _ = dlib_face.read_trunk(dlib_face.find_file())
    trunk.load_state_dict(dlib_face.to_grey_stem(state, card.mean[0], card.std[0]))


def _load_trunk(name: str) -> Callable[[nn.Module, ModelCard], None]:
    """Loads zoo weights into every part of a network that is made like theirs."""

    def load(network: nn.Module, card: ModelCard) -> None:
        pretrained, _ = load_network(name)
        trunks = [part for part in network.modules() if isinstance(part, type(pretrained))]
        for trunk in trunks:
            load_matching(trunk, pretrained.state_dict(), card, name)
        if not trunks:
            raise _no_trunk(card, name)

    return load


def load_matching(trunk: nn.Module, state: State, card: ModelCard, name: str) -> None:
    """Load weights into a network that is made like theirs, or for other classes.

    What only the classes need keeps its start, as does what the weights lack: the noise level's
    layers and the composition of emotions, which then change nothing. Raises DataError for any
    other difference.
    """
    ours = trunk.state_dict()
    taken = {
        key: value
        for key, value in state.items()
        if not OF_CLASSES.search(key) or (key in ours and ours[key].shape == value.shape)
    }
    lacking = {key for key in ours if key not in taken and not KEEPS_START.search(key)}
    if lacking or any(key not in ours or ours[key].shape != taken[key].shape for key in taken):
        raise _no_trunk(card, name)
    trunk.load_state_dict(taken, strict=False)


def _no_trunk(card: ModelCard, name: str) -> DataError:
    what = f"{card.model} has no trunk like that of {name}"
    return DataError(what, card.name, "leave recipe.encoder out, or give weights of its width")


ENCODERS = {"dlib-face": Encoder(dlib_face.find_file, _load_dlib_face)}
"""By the name that a recipe gives; beside them, ResNet-18s of the zoo by theirs."""


def load_encoder(name: str, network: nn.Module, card: ModelCard) -> None:
    """Put a pretrained encoder's weights into the part of `network` that is made like it.

    Raises DataError for a name or a network that does not fit, ModelError where the encoder's file
    is missing or damaged.
    """
    _find(name, card.name).load(network, card)


def encoder_digests(recipe: Recipe) -> dict[str, str]:
    """The sha256, by name, of every pretrained encoder that a recipe's network starts from or
    reads: what its card says of them. Raises as `load_encoder`."""
    digests: dict[str, str] = {}
    if teacher := recipe.objective.get("teacher"):
        digests[teacher] = digest_of(find_weights(teacher))
    if recipe.encoder:
        digests[recipe.encoder] = digest_of(_find(recipe.encoder, recipe.model).find())
    if clip := recipe.network.get("clip") or recipe.objective.get("text_encoder"):
        digests[clip] = folder_digest(find_encoder(clip))
    return digests


def _find(name: str, where: str) -> Encoder:
    if name in zoo_names():
        return Encoder(partial(find_weights, name), _load_trunk(name))
    if name not in ENCODERS:
        known = ", ".join(sorted(ENCODERS))
        raise DataError(f"no such encoder {name!r}", where, f"known are: {known}")
    return ENCODERS[name]
