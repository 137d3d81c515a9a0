"""Pretrained encoders that a network starts from: which file, and where its weights go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from models.encoders import dlib_face
from models.encoders.folders import digest_of, find_encoder, folder_digest
from models.loading import find_weights, load_network, zoo_names
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


def _load_trunk(name: str) -> Callable[[nn.Module, ModelCard], None]:
    """Loads zoo weights into every part of a network that is made like theirs."""

    def load(network: nn.Module, card: ModelCard) -> None:
        pretrained, _ = load_network(name)
        trunks = [part for part in network.modules() if isinstance(part, type(pretrained))]
        for trunk in trunks:
            state, ours = pretrained.state_dict(), trunk.state_dict().items()
            own = {key: v.shape for key, v in ours if key in state or not key.startswith("films.")}
            if own != {key: v.shape for key, v in state.items()}:
                raise _no_trunk(card, name)
            # Layers that the pretrained network lacks keep their start: zero, they change nothing.
            trunk.load_state_dict(state, strict=False)
        if not trunks:
            raise _no_trunk(card, name)

    return load


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
    if clip := recipe.network.get("clip"):
        digests[clip] = folder_digest(find_encoder(clip))
    return digests


def _find(name: str, where: str) -> Encoder:
    if name in zoo_names():
        return Encoder(partial(find_weights, name), _load_trunk(name))
    if name not in ENCODERS:
        known = ", ".join(sorted(ENCODERS))
        raise DataError(f"no such encoder {name!r}", where, f"known are: {known}")
    return ENCODERS[name]
