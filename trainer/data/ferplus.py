"""FER+: ten votes per face, and the rules that turn them into labels (arXiv 1608.01041).

A vote row is (neutral .. contempt, unknown, not a face). `ms_majority` follows the authors'
reference code; `no_drop` keeps every face that has a vote for an emotion; `dropped` is those of
`no_drop` that are not in `ms_majority`: without a reliable label, but with votes to train on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.emotions import EMOTIONS
from trainer.data.faceset import FaceSet

PROTOCOLS = ("ms_majority", "no_drop", "dropped")
CLASSES = len(EMOTIONS)
Votes = NDArray[np.integer]


def remove_outliers(votes: Votes) -> NDArray[np.int64]:
    """Votes (n, 10) with every single vote set to zero."""
    return np.where(votes > 1, votes, 0).astype(np.int64)


def has_majority(votes: Votes) -> NDArray[np.bool_]:
    """Faces (n,) whose best label has more than half of the votes and is an emotion."""
    counted = remove_outliers(votes)
    best = counted.argmax(axis=1)
    return (counted.max(axis=1) > 0.5 * counted.sum(axis=1)) & (best < CLASSES)


def to_soft_targets(votes: Votes) -> NDArray[np.float32]:
    """Share of each emotion among the votes for emotions, outliers removed: (n, 8), rows sum to 1.

    Where nothing is left after the removal, the shares are those of the raw votes.
    """
    counted = remove_outliers(votes)[:, :CLASSES]
    raw = votes[:, :CLASSES]
    counted = np.where(counted.sum(axis=1, keepdims=True) > 0, counted, raw)
    return (counted / counted.sum(axis=1, keepdims=True)).astype(np.float32)


def from_votes(
    name: str,
    tiles: NDArray[np.uint8],
    votes: Votes,
    rows: NDArray[np.int64],
    seen_in_training: NDArray[np.bool_],
    protocol: str = "ms_majority",
) -> FaceSet:
    """FER+ faces under a protocol; the label is the emotion with most votes, ties to the first."""
    if protocol == "ms_majority":
        kept = has_majority(votes)
        labels = remove_outliers(votes)[:, :CLASSES].argmax(axis=1)
    else:
        kept = votes[:, :CLASSES].sum(axis=1) > 0
        if protocol == "dropped":
            kept &= ~has_majority(votes)
        labels = votes[:, :CLASSES].argmax(axis=1)
    votes = votes[kept]
    return FaceSet(
        name,
        protocol,
        EMOTIONS,
        tiles[kept],
        to_soft_targets(votes),
        labels[kept].astype(np.int64),
        rows[kept].astype(np.int64),
        seen_in_training[kept].astype(bool),
        votes[:, :CLASSES],
    )


def select_validation_cut(faces: FaceSet) -> NDArray[np.bool_]:
    """Which faces (n,) of Training are in the validation cut.

    Of each class, the tenth of the groups of equal pixels with the smallest sha256(pixels): all
    copies of an image are on one side, and the cut is the same on every machine and under every
    label noise.
    """
    hashes = np.array(faces.hashes())
    chosen: list[str] = []
    for label in range(len(faces.classes)):
        groups = np.unique(hashes[faces.true_labels == label])
        chosen += groups[: len(groups) // 10].tolist()
    return np.isin(hashes, chosen)
