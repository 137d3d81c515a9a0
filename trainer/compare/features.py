"""A network's features of faces, the input of its last layer, and their projection to the plane."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from torch import Tensor, nn

from models.errors import ModelError
from models.loading import as_classifier, load_network
from trainer.compare.evaluate import predict
from trainer.data.faceset import FaceSet

PERPLEXITY = 30
"""The number of neighbours of a face in t-SNE; fewer where there are too few faces."""


def extract_features(weights: str, faces: FaceSet) -> NDArray[np.float32]:
    """The input of a network's last layer for each face: (n, width), no TTA.

    Raises ModelError for weights that cannot be opened, or a network without a linear head, and
    DataError for faces of classes that it does not know.
    """
    network, card = load_network(weights)
    # The head is the module of that name with an output per class, wherever a family puts it.
    heads = [
        part
        for name, part in network.named_modules()
        if name.rpartition(".")[2] == "head"
        and isinstance(part, nn.Linear)
        and part.out_features == len(card.labels)
    ]
    if len(heads) != 1:
        raise ModelError(f"{card.model} has no linear head", weights, "use other weights")
    inputs: list[Tensor] = []
    hook = heads[0].register_forward_pre_hook(lambda head, args: inputs.append(args[0].cpu()))
    predict(as_classifier(network, card, flip=False), faces)
    hook.remove()
    return torch.cat(inputs).numpy()


def project_features(features: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    """Features (n, width), n of 3 or more, in the plane: (n, 2), neighbours kept together.

    t-SNE (van der Maaten & Hinton 2008) from the first two principal components. Distances between
    groups that are far apart, and the sizes of groups, mean nothing.
    """
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    fitted = TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(features)
    places: NDArray[np.float32] = fitted.astype(np.float32)
    return places
