"""The cards of the weights in the zoo, read without torch: for programs that run no model."""

from __future__ import annotations

import json
import re
from pathlib import Path

from models.card import ModelCard

ZOO = Path(__file__).with_name("zoo")
CARD_KEY = "undercam.card"
MAX_HEADER = 16_000_000
"""Longest header of a safetensors file that is read, in bytes."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def find_card(name: str) -> ModelCard | None:
    """The card of the weights with this name; None where there are none, or they cannot be read.

    >>> find_card("resnet18-w36").labels[0], find_card("../zoo/resnet18-w36")
    ('neutral', None)
    """
    path = ZOO / f"{name}.safetensors"
    if not _NAME.fullmatch(name) or not path.is_file():
        return None
    try:
        return ModelCard.from_json(_read_metadata(path)[CARD_KEY])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _read_metadata(path: Path) -> dict[str, str]:
    """The texts in a safetensors file: its length in eight bytes, then the header as JSON."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > MAX_HEADER:
            raise ValueError("header too long")
        metadata: dict[str, str] = json.loads(file.read(size))["__metadata__"]
    return metadata
