"""What a network has made of faces just before it names them, and that laid out in the plane."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from torch import Tensor

from models.errors import ModelError
from models.loading import as_classifier, load_network
from trainer.compare.evaluate import predict
from trainer.data.faceset import FaceSet

PERPLEXITY = 30
"""Faces that t-SNE calls neighbours; fewer where there are too few faces."""

HEADS = ("head", "former.head")
"""What networks here call their last layer."""


def penultimate(weights: str, faces: FaceSet) -> NDArray[np.float32]:
    """The input of a network's last layer for each face: (n, width), without the mirror image.

    Raises ModelError for weights that cannot be opened, or a network without a linear head, and
    DataError for faces of classes that it does not know.
    """
    network, card = load_network(weights)
    parts = dict(network.named_modules())
    head = next((parts[name] for name in HEADS if name in parts), None)
    if head is None:
        raise ModelError(f"{card.model} has no last layer known here", weights, "use other weights")
    seen: list[Tensor] = []
    note = head.register_forward_pre_hook(lambda head, given: seen.append(given[0].cpu()))
    predict(as_classifier(network, card, flip=False), faces)
    note.remove()
    return torch.cat(seen).numpy()


def laid_out(features: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    """Features (n, width), n of 3 or more, in the plane: (n, 2), neighbours kept together.

    t-SNE (van der Maaten & Hinton 2008) from the first two principal components. Distances between
    far groups, and their sizes, mean nothing.
    """
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    fitted = TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(features)
    places: NDArray[np.float32] = fitted.astype(np.float32)
    return places
