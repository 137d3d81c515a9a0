"""The sample table: what each face is currently trained as, beside the votes that were read.

It is saved in the checkpoint, so a resumed run continues with the same targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainer.data.faceset import FaceSet
from trainer.errors import DataError

VERSION = 2
"""Of the table in a checkpoint; 1: without difficulties; 0: a checkpoint from before there was
one."""
DIFFICULTY_RATE = 0.1
"""Share of one visit in a face's mean difficulty, once it has been visited ten times."""
KEPT = "kept."
"""Begins the names of what an objective carries."""


@dataclass
class SampleTable:
    """One row per face, in the order of the training set, on the CPU.

    ids (n,) int64. votes (n, K) float32: the labels as they were read, never changed. targets
    (n, K) float32: what the face is trained as, at first its votes. p_clean (n,) float32 in 0..1:
    the probability that its votes are right, at first 1. difficulty (n,) float32: a running mean of
    how hard the face is to denoise, 1 for one like the average; visits (n,) float32: how often it
    was measured, 0: never. kept: what else an objective carries from epoch to epoch, by names of
    its own.
    """

    ids: Tensor
    votes: Tensor
    targets: Tensor
    p_clean: Tensor
    difficulty: Tensor
    visits: Tensor
    kept: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, faces: FaceSet) -> SampleTable:
        """The table at the start of training."""
        votes = torch.tensor(faces.targets)
        n = len(faces)
        start = votes.clone(), torch.ones(n), torch.ones(n), torch.zeros(n)
        return cls(torch.tensor(faces.ids), votes, *start)

    def __len__(self) -> int:
        return len(self.ids)

    def relabel(self, rows: Tensor, classes: Tensor) -> None:
        """Train the faces of `rows` (n,) as one class each (n,), or, where the class is below 0,
        as their votes again."""
        rows, classes = rows.cpu(), classes.cpu()
        one_class = torch.nn.functional.one_hot(classes.clamp(min=0), self.votes.shape[1])
        votes = self.votes[rows]
        self.targets[rows] = torch.where(classes[:, None] < 0, votes, one_class.to(votes.dtype))

    def measure_difficulty(self, total: Tensor, visits: Tensor) -> None:
        """Add the difficulties that were measured of each face, their sums and counts (n,): the
        mean over its visits, and from the tenth on an exponential one, at DIFFICULTY_RATE."""
        total, visits = total.cpu(), visits.cpu()
        seen = visits > 0
        kept = (1 - DIFFICULTY_RATE) ** visits
        rate = torch.maximum(visits / (self.visits + visits).clamp(min=1), 1 - kept)
        mean = total / visits.clamp(min=1)
        self.difficulty = torch.where(
            seen, torch.lerp(self.difficulty, mean, rate), self.difficulty
        )
        self.visits = self.visits + visits

    def state(self) -> dict[str, Tensor]:
        """The tensors for a checkpoint; the votes stay with the data."""
        names = ("ids", "targets", "p_clean", "difficulty", "visits")
        kept = {f"{KEPT}{name}": value for name, value in self.kept.items()}
        return {name: getattr(self, name) for name in names} | kept

    def load(self, state: Mapping[str, Tensor], version: int, where: str) -> None:
        """Load the targets of a checkpoint; raises DataError for a table of other faces, or one
        that a newer release wrote."""
        if version == 0:
            return
        if version > VERSION:
            what = f"a table of samples of version {version}, this release reads {VERSION}"
            raise DataError(what, where, "resume with the release that wrote it")
        if not torch.equal(state["ids"], self.ids):
            raise DataError("a table of other faces", where, "delete it to train from the start")
        self.targets, self.p_clean = state["targets"], state["p_clean"]
        if version > 1:
            self.difficulty, self.visits = state["difficulty"], state["visits"]
        self.kept = {
            name.removeprefix(KEPT): value for name, value in state.items() if name.startswith(KEPT)
        }
