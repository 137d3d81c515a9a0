"""Retrieval relabelling (RR): what a noisy face is, by the clean faces that it retrieves.

A face ranks the clean ones by cosine; the average precision (AP) of each class in that ranking is
its similarity to the class. A random ranking has an AP of the class's prevalence: in a gallery as
imbalanced as the data it would relabel towards the frequent classes, so the gallery has as many
faces of every class.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 256
"""Queries that are ranked at once."""
NEIGHBOURS, SHARPNESS = 20, 0.1


def average_precisions(similarities: Tensor, labels: Tensor, classes: int, top: int = 0) -> Tensor:
    """AP (q, K) of each of `classes` in the rankings of a gallery with `labels` (g,) by
    `similarities` (q, g): the mean, over the class's faces, of the precision at their rank. A face
    of similarity -inf is not in that query's gallery. `top`: only so many ranks count, of a class
    with more faces, so many."""
    ranking = similarities.argsort(dim=1, descending=True, stable=True)
    one_hot = torch.nn.functional.one_hot(labels, classes).to(similarities.dtype)
    is_there = similarities.gather(1, ranking).isfinite()
    hits = one_hot[ranking] * is_there[:, :, None]
    total = hits.sum(dim=1)
    if top:
        hits, total = hits[:, :top], total.clamp(max=top)
    ranks = torch.arange(1, hits.shape[1] + 1, device=hits.device)[:, None]
    return (hits.cumsum(dim=1) / ranks * hits).sum(dim=1) / total.clamp(min=1)


def to_soft_labels(precisions: Tensor, temperature: float) -> Tensor:
    """AP (q, K) -> probabilities, in proportion to AP to the power of 1 / temperature."""
    powers = precisions.clamp(min=1e-6) ** (1 / temperature)
    return powers / powers.sum(dim=1, keepdim=True)


def sample_gallery(is_clean: Tensor, labels: Tensor, classes: int, size: int = 0) -> Tensor:
    """Rows of clean faces (n,), `size` of each class that has any; 0: as many as the rarest has. A
    class with fewer is sampled with replacement. Random numbers are torch's global ones."""
    of_class = [(is_clean & (labels == label)).nonzero()[:, 0] for label in range(classes)]
    of_class = [rows for rows in of_class if len(rows)]
    size = size or min((len(rows) for rows in of_class), default=0)
    chosen = [
        rows[torch.randperm(len(rows))[:size]]
        if len(rows) >= size
        else rows[torch.randint(len(rows), (size,))]
        for rows in of_class
    ]
    return torch.cat(chosen) if chosen else torch.zeros(0, dtype=torch.int64)


def retrieve_by_precision(
    embeddings: Tensor,
    labels: Tensor,
    gallery: Tensor,
    classes: int,
    temperature: float,
    top: int = 0,
) -> Tensor:
    """Soft labels (n, K) of unit vectors (n, d) with `labels` (n,), by the faces in the rows
    `gallery` (g,), a face never by itself."""
    found = []
    for start in range(0, len(embeddings), CHUNK):
        similarities = _to_others(embeddings, start, gallery)
        precisions = average_precisions(similarities, labels[gallery], classes, top)
        found.append(to_soft_labels(precisions, temperature))
    return torch.cat(found)


def retrieve_neighbours(
    embeddings: Tensor, labels: Tensor, gallery: Tensor, classes: int, p_clean: Tensor
) -> Tensor:
    """The ablation: the share of each class among the nearest NEIGHBOURS in the gallery, each by
    its P(clean) times exp(cosine / SHARPNESS)."""
    one_hot = torch.nn.functional.one_hot(labels[gallery], classes).float()
    found = []
    for start in range(0, len(embeddings), CHUNK):
        similarities = _to_others(embeddings, start, gallery)
        near = similarities.topk(min(NEIGHBOURS, len(gallery)), dim=1)
        weights = p_clean[gallery][near.indices] * ((near.values - 1) / SHARPNESS).exp()
        shares = (weights[:, :, None] * one_hot[near.indices]).sum(dim=1)
        found.append(shares / shares.sum(dim=1, keepdim=True).clamp(min=1e-9))
    return torch.cat(found)


def _to_others(embeddings: Tensor, start: int, gallery: Tensor) -> Tensor:
    """Cosines (q, g) of a chunk of faces to the gallery, -inf to themselves."""
    queries = embeddings[start : start + CHUNK]
    similarities = queries @ embeddings[gallery].T
    own = torch.arange(start, start + len(queries))
    return similarities.masked_fill(own[:, None] == gallery, -torch.inf)
