"""CLIP's encoders, frozen, in place of our own, where its weights are at hand (Radford et al. 2021,
arXiv 2103.00020)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from models.encoders.folders import find_encoder
from models.errors import ModelError
from models.weights import ModelCard

PROMPT = "a photo of a {label} face"
MEAN, STD = 0.5, 0.25
"""How the input of a network with CLIP is normalised, in every channel; `image` brings it to CLIP's
own normalisation."""
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
REMEDY = "give a folder with a CLIPModel in safetensors and its tokenizer"


class ClipEncoders:
    """A `TextImageEncoder` from a CLIPModel as transformers saves it, by the name of its folder
    (see `models.encoders.folders`).

    It is no module: its weights are in no network's state and are never trained. Vectors have
    length 1. Without `labels` it encodes faces alone.
    Raises ModelError where transformers, the folder, or safetensors in it are missing.
    """

    def __init__(self, name: str, labels: tuple[str, ...] = ()) -> None:
        folder = str(find_encoder(name))
        clip = (
            _load_pretrained(folder, "CLIPModel", use_safetensors=True).eval().requires_grad_(False)
        )
        self.features: int = clip.config.projection_dim
        self._side: int = clip.config.vision_config.image_size
        self._vision, self._project = clip.vision_model, clip.visual_projection
        self._table = _encode_labels(clip, folder, labels) if labels else None

    @torch.no_grad()
    def image(self, x: Tensor) -> Tensor:
        """Faces (n, 1 or 3, h, w), normalised by 0.5 and 0.25 -> (n, `features`)."""
        x = (x.float() * STD + MEAN).expand(-1, 3, -1, -1)
        side = (self._side, self._side)
        x = functional.interpolate(x, side, mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (x.new_tensor(value).view(1, 3, 1, 1) for value in (CLIP_MEAN, CLIP_STD))
        pooled = self._vision.to(x.device)(pixel_values=(x - mean) / std).pooler_output
        return functional.normalize(self._project.to(x.device)(pooled), dim=1)

    def label(self, shares: Tensor) -> Tensor:
        """Distributions over the labels (n, K) -> (n, `features`): the mean of their prompts'."""
        if self._table is None:
            raise ValueError("encoders made without labels")
        return shares @ self._table.to(shares)


def check_input(card: ModelCard) -> None:
    """Raise ModelError for a card whose input is normalised in another way."""
    if set(card.mean) != {MEAN} or set(card.std) != {STD}:
        raise ModelError(
            f"CLIP behind an input of mean {card.mean} and std {card.std}",
            card.name,
            f"normalise by {MEAN} and {STD}",
        )


@torch.no_grad()
def _encode_labels(clip: Any, folder: str, labels: tuple[str, ...]) -> Tensor:
    tokenizer = _load_pretrained(folder, "AutoTokenizer")
    prompts = [PROMPT.format(label=label) for label in labels]
    pooled = clip.text_model(**tokenizer(prompts, padding=True, return_tensors="pt")).pooler_output
    return functional.normalize(clip.text_projection(pooled), dim=1)


def _load_pretrained(folder: str, kind: str, **options: Any) -> Any:
    """A model or tokenizer of transformers, from this folder alone: nothing is downloaded."""
    try:
        # By name: whoever trains and serves without CLIP needs no transformers.
        transformers = import_module("transformers")
    except ImportError as error:
        raise ModelError("no transformers", folder, "pip install 'undercam[clip]'") from error
    try:
        return getattr(transformers, kind).from_pretrained(folder, local_files_only=True, **options)
    except (OSError, ValueError) as error:
        raise ModelError("unreadable CLIP", folder, REMEDY) from error
