"""What training has come to think of each face, beside what was read of it.

Kept in the checkpoint, so that a resumed run goes on from the same opinions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.data.faceset import FaceSet
from trainer.errors import DataError

VERSION = 1
"""Of the table in a checkpoint; 0 is a checkpoint from before there was one."""


@dataclass
class SampleTable:
    """A row a face, in the order of the training set, on the CPU.

    ids (n,) int64. votes (n, K) float32: the labels as they were read, which nothing changes.
    targets (n, K) float32: what the face is learnt as, its votes at first. p_clean (n,) float32 in
    0..1: how far its votes are believed, 1 at first.
    """

    ids: Tensor
    votes: Tensor
    targets: Tensor
    p_clean: Tensor

    @classmethod
    def of(cls, faces: FaceSet) -> SampleTable:
        """The table before anything was learnt."""
        votes = torch.tensor(faces.targets)
        return cls(torch.tensor(faces.ids), votes, votes.clone(), torch.ones(len(faces)))

    def __len__(self) -> int:
        return len(self.ids)

    def relabel(self, rows: Tensor, classes: Tensor) -> None:
        """Let the faces of `rows` (n,) be learnt as one class each (n,), or, where the class is
        below 0, as their votes say."""
        rows, classes = rows.cpu(), classes.cpu()
        one_class = torch.nn.functional.one_hot(classes.clamp(min=0), self.votes.shape[1])
        votes = self.votes[rows]
        self.targets[rows] = torch.where(classes[:, None] < 0, votes, one_class.to(votes.dtype))

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps: opinions, and whose they are; the votes stay with the data."""
        return {"ids": self.ids, "targets": self.targets, "p_clean": self.p_clean}

    def load(self, state: Mapping[str, Tensor], version: int, where: str) -> None:
        """Take the opinions of a checkpoint; raises DataError for a table of other faces, or one
        that a newer release wrote."""
        if version == 0:
            return
        if version > VERSION:
            what = f"a table of samples of version {version}, this release reads {VERSION}"
            raise DataError(what, where, "go on with the release that wrote it")
        if not torch.equal(state["ids"], self.ids):
            raise DataError("a table of other faces", where, "delete it to train from the start")
        self.targets, self.p_clean = state["targets"], state["p_clean"]
