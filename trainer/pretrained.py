"""Pretrained encoders that a network starts from: which file, and where its weights go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from models.encoders import dlib_face
from models.encoders.folders import digest_of, find_encoder, folder_digest
from models.weights import ModelCard
from trainer.errors import DataError
from trainer.recipes import Recipe


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


ENCODERS = {"dlib-face": Encoder(dlib_face.find_file, _load_dlib_face)}
"""By the name that a recipe gives."""


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
    if recipe.encoder:
        digests[recipe.encoder] = digest_of(_find(recipe.encoder, recipe.model).find())
    if clip := recipe.network.get("clip"):
        digests[clip] = folder_digest(find_encoder(clip))
    return digests


def _find(name: str, where: str) -> Encoder:
    if name not in ENCODERS:
        known = ", ".join(sorted(ENCODERS))
        raise DataError(f"no such encoder {name!r}", where, f"known are: {known}")
    return ENCODERS[name]
