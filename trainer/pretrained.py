"""Networks start from encoders that others trained: which file, and where its weights go."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from models.encoders import dlib_face
from models.weights import ModelCard
from trainer.errors import DataError


def _load_dlib_face(network: nn.Module, card: ModelCard) -> None:
    trunk = getattr(network, "trunk", None)
    if not isinstance(trunk, dlib_face.DlibFaceTrunk) or card.channels != 1:
        what = f"{card.model} with {card.channels} channels has no trunk for dlib's face network"
        raise DataError(what, card.name, "leave recipe.encoder out")
    state, _ = dlib_face.read_trunk(dlib_face.find_file())
    trunk.load_state_dict(dlib_face.grey_stem(state, card.mean, card.std))


ENCODERS: dict[str, Callable[[nn.Module, ModelCard], None]] = {"dlib-face": _load_dlib_face}
"""By the name that a recipe gives."""


def load_encoder(name: str, network: nn.Module, card: ModelCard) -> None:
    """Put a pretrained encoder's weights into the part of `network` that is made like it.

    Raises DataError for a name or a network that does not fit, ModelError where the encoder's file
    is missing or damaged.
    """
    if name not in ENCODERS:
        known = ", ".join(sorted(ENCODERS))
        raise DataError(f"no such encoder {name!r}", card.name, f"known are: {known}")
    ENCODERS[name](network, card)
