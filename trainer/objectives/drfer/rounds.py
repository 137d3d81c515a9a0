"""A self-paced round: which faces have clean labels, and what the others are trained as.

Everything is estimated anew from the labels as they were read, which never change: a mistake of one
round is not the truth of the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from models.drfer.network import DRFER, to_embeddings
from trainer.data.faceset import FaceSet
from trainer.errors import OptionError
from trainer.inputs import CHUNK, InputsOnDemand
from trainer.objectives.drfer.retrieval import (
    retrieve_by_precision,
    retrieve_neighbours,
    sample_gallery,
)
from trainer.objectives.drfer.split import select_clean, split_clean
from trainer.samples import SampleTable

ROUNDS_AVERAGED = 3
"""Losses of the last so many rounds are averaged: one alone depends on the last few steps."""
MEMORY = 0.7
"""Share of the prediction of earlier rounds in the mean prediction (as ELR, Liu et al. 2020)."""
RETRIEVALS = ("ap", "knn", "none")


@dataclass(frozen=True)
class RoundSettings:
    """`per_class`: a mixture of losses for each class, or one for all. A face counts as clean above
    a P(clean) that goes from `clean_first` to `clean_last` over the rounds. `retrieval`: ap, knn or
    none, in a gallery of `gallery` faces a class (0: as many as the rarest has); what is retrieved
    is in proportion to AP to the power of 1 / `temperature`. `top`, where not 0: an AP reads
    so many ranks alone.

    `hard`, the poster's: a clean face is trained as its label, any other as what it retrieves. Else
    the target of every face is p label + (1 - p) [half retrieval, half mean prediction].
    """

    per_class: bool = True
    clean_first: float = 0.8
    clean_last: float = 0.4
    retrieval: str = "ap"
    gallery: int = 200
    temperature: float = 0.5
    top: int = 0
    hard: bool = False

    def __post_init__(self) -> None:
        if self.retrieval not in RETRIEVALS:
            known = ", ".join(RETRIEVALS)
            raise OptionError(f"retrieval {self.retrieval!r}", "drfer", f"give {known}")


def fold_by_pixels(faces: FaceSet, folds: int) -> Tensor:
    """The fold (n,) of each face, by its pixels: of two equal faces, none judges the other."""
    hashes = (int(value[:8], 16) for value in faces.hashes())
    return torch.tensor([value % folds for value in hashes], dtype=torch.int64)


@dataclass(frozen=True)
class Judgement:
    """What the networks give for every face, without augmentation: probabilities (n, K) and
    embeddings (n, d)."""

    probabilities: Tensor
    embeddings: Tensor


@torch.no_grad()
def judge(networks: Sequence[DRFER], folds: Tensor, inputs: Tensor | InputsOnDemand) -> Judgement:
    """Each of two folds by the network that is trained on the other one; with a single network all
    faces by itself. The networks are in evaluation mode."""
    device = next(networks[0].parameters()).device
    rows, found = [], []
    for fold in range(len(networks)):
        network = networks[(fold + 1) % len(networks)]
        own = (folds == fold).nonzero()[:, 0]
        for part in torch.split(own, CHUNK):
            vectors = network.represent(inputs[part].to(device))
            logits = network.classify(vectors).float()
            found.append((logits.softmax(dim=1).cpu(), to_embeddings(vectors).cpu()))
            rows.append(part)
    order = torch.cat(rows).argsort()
    probabilities, embeddings = (torch.cat(values)[order] for values in zip(*found, strict=True))
    return Judgement(probabilities, embeddings)


def update_table(
    table: SampleTable, judged: Judgement, folds: Tensor, settings: RoundSettings, progress: float
) -> Tensor:
    """Write P(clean), which faces count as clean, and the targets into the table; returns what each
    face retrieves, (n, K). `progress`: the share of the rounds that is done."""
    labels, kept = table.votes.argmax(dim=1), table.kept
    classes = table.votes.shape[1]
    # The divergence from the votes: cross-entropy, where a label is one class, and for shared votes
    # without their entropy, which would make every ambiguous face a noisy one.
    entropies = -(table.votes * judged.probabilities.clamp(min=1e-9).log()).sum(dim=1)
    losses = entropies - torch.special.entr(table.votes).sum(dim=1)
    earlier = kept.get("losses", losses.new_zeros(0, len(losses)))
    kept["losses"] = torch.cat([losses[None], earlier])[:ROUNDS_AVERAGED]
    mean = kept.get("predictions", judged.probabilities)
    kept["predictions"] = torch.lerp(judged.probabilities, mean, MEMORY)
    p = split_clean(kept["losses"].mean(dim=0), labels, classes, settings.per_class)
    threshold = settings.clean_first + (settings.clean_last - settings.clean_first) * progress
    is_clean = select_clean(p, labels, classes, threshold)
    retrieved = retrieve(judged.embeddings, labels, p, is_clean, folds, classes, settings)
    table.p_clean, kept["is_clean"] = p, is_clean
    if settings.hard:
        table.targets = torch.where(is_clean[:, None], table.votes, retrieved)
        return retrieved
    share = 0.0 if settings.retrieval == "none" else 0.5
    opinion = torch.lerp(kept["predictions"], retrieved, share)
    table.targets = torch.lerp(opinion, table.votes, p[:, None])
    return retrieved


def retrieve(
    embeddings: Tensor,
    labels: Tensor,
    p_clean: Tensor,
    is_clean: Tensor,
    folds: Tensor,
    classes: int,
    settings: RoundSettings,
) -> Tensor:
    """What each face retrieves among the clean ones of its own fold, (n, K): they were embedded by
    the same network, which was trained on none of their labels either. Uniform without retrieval,
    and where nothing is clean."""
    found = torch.full((len(labels), classes), 1 / classes)
    for fold in range(int(folds.max()) + 1):
        own = (folds == fold).nonzero()[:, 0]
        near, of = embeddings[own], labels[own]
        every = is_clean[own].nonzero()[:, 0]
        if settings.retrieval == "none" or not len(every):
            continue
        if settings.retrieval == "knn":
            found[own] = retrieve_neighbours(near, of, every, classes, p_clean[own])
            continue
        gallery = sample_gallery(is_clean[own], of, classes, settings.gallery)
        how = settings.temperature, settings.top
        found[own] = retrieve_by_precision(near, of, gallery, classes, *how)
    return found


def measure_round(
    table: SampleTable, retrieved: Tensor, truth: Tensor | None, names: Sequence[str]
) -> dict[str, float]:
    """Metrics of a round, none of which is trained on: `clean_CLASS`, the share of each class that
    counts as clean; where the `truth` (n,) is known and some labels are wrong, `split_auc` of
    P(clean), and of the faces with a wrong label the shares whose first retrieved class
    (`retrieved_right`) and whose target (`relabelled_right`) is the true one; `targets_right`, that
    of all faces."""
    labels, is_clean = table.votes.argmax(dim=1), table.kept["is_clean"]
    metrics = {
        f"clean_{name}": float(is_clean[labels == number].float().mean())
        for number, name in enumerate(names)
        if (labels == number).any()
    }
    if truth is not None and 0 < int((labels == truth).sum()) < len(labels):
        wrong, first = labels != truth, retrieved.argmax(dim=1)
        trained_as = table.targets.argmax(dim=1)
        metrics |= {
            "split_auc": float(roc_auc_score(np.asarray(~wrong), np.asarray(table.p_clean))),
            "retrieved_right": float((first == truth)[wrong].float().mean()),
            "relabelled_right": float((trained_as == truth)[wrong].float().mean()),
            "targets_right": float((trained_as == truth).float().mean()),
        }
    return {name: round(value, 4) for name, value in metrics.items()}
