"""Logit adjustment: how much the classes' shares may decide where an image tells little."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from models.errors import ModelError
from models.loading import as_classifier
from models.weights import ModelCard
from trainer.data.faceset import FaceSet
from trainer.inputs import build_inputs

FACES = 8
TOLERANCE = 1e-2


def adjust_prior(network: nn.Module, card: ModelCard, faces: FaceSet, weight: float) -> ModelCard:
    """Subtract `weight` (0..1) times the logarithm of each class's share of `faces` from its
    calibrated logit, in the bias of the layer that gives the logits, in place; returns the card
    with the weight, added to that of earlier adjustments (post-hoc logit adjustment, Menon et al.
    2021, arXiv 2007.07314).

    The most probable class of a degraded image is often only the most frequent one. At 0 nothing
    changes, at 1 all classes count as equally frequent; a class without faces counts as one face.
    Raises ModelError for a network whose logits do not come from one such layer.
    """
    counts = np.bincount(faces.labels, minlength=len(card.labels)).clip(min=1)
    shift = -weight * card.temperature * torch.from_numpy(np.log(counts / counts.sum())).float()
    head = _find_head(network, card)
    some = faces[:FACES]
    before = _logits(network, card, some)
    with torch.no_grad():
        # In float16, as the file stores it.
        head.bias.copy_((head.bias + shift.to(head.bias)).half())
    if not torch.allclose(_logits(network, card, some), before + shift, TOLERANCE, TOLERANCE):
        raise _no_head(card)
    total = card.recipe.get("logit_adjustment", 0.0) + weight
    return replace(card, recipe=card.recipe | {"logit_adjustment": round(total, 6)})


def _find_head(network: nn.Module, card: ModelCard) -> nn.Linear:
    heads = [
        module
        for module in network.modules()
        if isinstance(module, nn.Linear)
        and module.out_features == len(card.labels)
        and module.bias is not None
    ]
    if len(heads) != 1:
        raise _no_head(card)
    return heads[0]


def _no_head(card: ModelCard) -> ModelError:
    return ModelError(
        f"the logits of {card.model} do not come from one linear layer",
        card.name,
        "calibrate it without a logit adjustment",
    )


def _logits(network: nn.Module, card: ModelCard, faces: FaceSet) -> Tensor:
    with torch.inference_mode():
        return as_classifier(network, card).logits(build_inputs(faces, card), faces.ids)
