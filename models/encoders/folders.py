"""Pretrained encoders that are no part of our weights: found by name, told apart by sha256.

A card names an encoder; where it lies is each machine's own affair: a folder of that name in one of
the folders of UNDERCAM_ENCODERS (separated as in PATH).
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from models.errors import ModelError

VARIABLE = "UNDERCAM_ENCODERS"


def find_encoder(name: str) -> Path:
    """The folder of an encoder; raises ModelError, with the remedy, where there is none."""
    for root in os.environ.get(VARIABLE, "").split(os.pathsep):
        folder = Path(root) / name
        if root and name and not name.startswith(".") and folder.is_dir():
            return folder
    raise ModelError(
        "no such encoder", name or "(nothing)", f"set {VARIABLE} to the folder that holds it"
    )


def folder_digest(folder: Path) -> str:
    """sha256 of the weights in a folder: of its safetensors files, in the order of their names.

    Raises ModelError for a folder without any.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError("no safetensors in it", str(folder), "save the encoder as safetensors")
    return digest_of(*files)


def digest_of(*files: Path) -> str:
    """sha256 of the bytes of files, one after the other, in hexadecimal."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()
