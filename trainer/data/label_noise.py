"""Labels as noisy as people make them, or as an experiment needs them, beside the true ones.

votes            as they were read: the share of each class among a face's votes, or its label
hard             the class alone
one-vote         one vote of each face, drawn once: the noise of real annotators, 19 % on FER+
symmetric:SHARE  the class, but for this share of the faces another one, each as likely

What is drawn depends on a face's id and on nothing else: every run sees the same labels. The labels
of the validation cut are as noisy as those that are trained on; the true ones only measure.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trainer.data.faceset import FaceSet
from trainer.errors import DataError, OptionError

VOTES, HARD, ONE_VOTE, SYMMETRIC = "votes", "hard", "one-vote", "symmetric"
KNOWN = f"give {VOTES}, {HARD}, {ONE_VOTE} or {SYMMETRIC}:SHARE, a share from 0 to 1"
Classes = NDArray[np.int64]


def with_labels(faces: FaceSet, kind: str) -> FaceSet:
    """The faces with labels of this kind, their targets one-hot; `truth` keeps the true classes.

    Raises OptionError for an unknown kind, DataError for one vote of faces without votes.
    """
    if kind == VOTES:
        return faces
    name, _, share = kind.partition(":")
    if kind == HARD:
        labels = faces.labels
    elif kind == ONE_VOTE:
        if faces.votes is None:
            raise DataError("faces without votes", faces.name, f"give {SYMMETRIC}:0.2 for a noise")
        labels = draw_votes(faces.votes, faces.ids)
    elif name == SYMMETRIC:
        labels = flip_labels(faces.labels, faces.ids, _parse_share(share), len(faces.classes))
    else:
        raise OptionError(f"labels {kind!r}", "--labels", KNOWN)
    return replace(
        faces,
        protocol=f"{faces.protocol} {kind}",
        targets=np.eye(len(faces.classes), dtype=np.float32)[labels],
        labels=labels,
        truth=None if kind == HARD else faces.labels,
    )


def draw_votes(votes: NDArray[np.integer], ids: Classes) -> Classes:
    """One of each face's votes (n, K), as a class (n,); each vote is as likely."""
    shares = votes.cumsum(axis=1) / votes.sum(axis=1, keepdims=True)
    drawn: Classes = (_uniform(ids, "vote")[:, None] >= shares).sum(axis=1)
    return drawn


def flip_labels(labels: Classes, ids: Classes, share: float, classes: int) -> Classes:
    """Labels (n,), but for a `share` of the faces another of so many classes."""
    others = 1 + (_uniform(ids, "other") * (classes - 1)).astype(np.int64)
    return np.where(_uniform(ids, "flip") < share, (labels + others) % classes, labels)


def _parse_share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise OptionError(f"a share of {text!r}", "--labels", KNOWN)
    return share


def _uniform(ids: Classes, purpose: str) -> NDArray[np.float64]:
    """(n,) uniform in [0, 1), by id and purpose alone."""
    digests = (hashlib.sha256(f"{purpose}:{face}".encode()).digest() for face in ids.tolist())
    # 53 bits: a float64 holds each of them exactly, and none is rounded up to 1.
    return np.array([(int.from_bytes(d[:8], "big") >> 11) * 2.0**-53 for d in digests])
