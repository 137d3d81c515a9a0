"""DR-FER's stages: representations that learn from noisy labels.

`warmup`  cross-entropy and masked image modelling (MIM), jointly
`rounds`  self-paced: every few epochs it is judged anew which labels are clean, and what the others
          are trained as (`trainer.objectives.drfer.rounds`)
`fit`     the last round's targets, on all faces

With two `folds` (cross-fitting) `warmup` and `rounds` train two networks, each on a half of the
faces, and each judges the half that it never saw: a label that was memorised has a low loss, and
would pass for clean. In `fit` the first of them, which serves, is trained on all faces. With one
fold, as the poster has it, a network judges what it is trained on, and `fit` may be left out.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.drfer.masking import (
    hide,
    normalise_patches,
    paint,
    reconstruction_loss,
    sample_masks,
)
from models.drfer.network import DRFER, to_embeddings
from models.errors import ModelError
from models.loading import build_network
from models.weights import ModelCard, State
from trainer.data.faceset import FaceSet
from trainer.distributed import update_on_first
from trainer.errors import OptionError
from trainer.inputs import build_inputs, open_inputs
from trainer.objectives.base import Batch, Objective
from trainer.objectives.drfer.contrast import FORMS, MemoryBuilder, read_memory
from trainer.objectives.drfer.learner import DRFERSettings, Learner
from trainer.objectives.drfer.rounds import (
    RoundSettings,
    fold_by_pixels,
    judge,
    measure_round,
    update_table,
)
from trainer.objectives.softmax import select_prefix
from trainer.recipes import Recipe
from trainer.samples import SampleTable

WARMUP, ROUNDS, FIT = "warmup", "rounds", "fit"
FIRST, SECOND = "first", "second"
BRANCHES = 0.5
"""Weight of the cross-entropy of each branch alone."""
MIXED = 0.5
"""Share of the faces that are mixed; DCL reads the others, which are of one class."""


class DRFERObjective(Objective):
    """See the module; the keyword arguments are those of `DRFERSettings` and `RoundSettings`.

    The poster's KL(target || prediction) of noisy faces is cross-entropy here: the two differ by
    what no weight changes. Of several workers each mixes the faces of its share, and the first one
    makes the table for all. Raises OptionError for a stage of another name, and for two folds
    without `fit`.
    """

    @classmethod
    def compares_faces(cls, recipe: Recipe) -> bool:
        """The form of DCL that takes a batch's faces of a class together does."""
        return recipe.objective.get("dcl") == "batch"

    def __init__(self, recipe: Recipe, card: ModelCard, **settings: Any) -> None:
        of_rounds = {field.name for field in fields(RoundSettings)}
        own = {name: value for name, value in settings.items() if name not in of_rounds}
        self.settings = DRFERSettings(**own)
        self.rounds = RoundSettings(**{n: v for n, v in settings.items() if n in of_rounds})
        self._epochs = {stage.name: stage.epochs for stage in recipe.stages}
        for name in self._epochs:
            if name not in (WARMUP, ROUNDS, FIT):
                raise OptionError(f"stage {name}", "drfer", f"give {WARMUP}, {ROUNDS}, {FIT}")
        if self.settings.folds == 2 and FIT not in self._epochs:
            raise OptionError("two folds, and no network of all faces", "drfer", f"give {FIT}")
        self._card, self._classes = card, len(card.labels)
        names = (FIRST, SECOND)[: self.settings.folds]
        self.learners = {name: self._make_learner() for name in names}
        self.network = nn.ModuleDict(self.learners)
        self._builders: dict[str, MemoryBuilder] = {}
        self._epoch = 0
        self._sums: dict[str, list[Tensor]] = {}
        self._round: dict[str, float] = {}

    def _make_learner(self) -> Learner:
        network = build_network(self._card)
        if not isinstance(network, DRFER):
            raise ModelError(f"a network of {self._card.model}", self._card.name, "give drfer")
        return Learner(network, self._classes, self.settings.mim > 0)

    def prepare(self, samples: SampleTable, faces: FaceSet, run_dir: Path) -> None:
        """The folds, and the faces as they are judged: without augmentation."""
        super().prepare(samples, faces, run_dir)
        self._folds = fold_by_pixels(faces, self.settings.folds)
        self._inputs = open_inputs(faces, lambda some: build_inputs(some, self._card))
        self._truth = None if faces.truth is None else torch.from_numpy(faces.truth)
        samples.kept["is_clean"] = torch.ones(len(faces), dtype=torch.bool)

    def parameters(self, stage: str) -> list[nn.Parameter]:
        """In `fit` those of the first network, else those of all."""
        part = self.learners[FIRST] if stage == FIT else self.network
        return list(part.parameters())

    def start_epoch(self, stage: str, epoch: int) -> None:
        """Empty the sums of the class memories, which this epoch's faces fill for the next one."""
        self._epoch = epoch
        self._builders = {name: MemoryBuilder() for name in self.learners}

    def end_epoch(self, stage: str, epoch: int) -> None:
        """Keep the class memories; where a round is due, judge every face and renew the table."""
        for name, builder in self._builders.items():
            state = builder.state()
            self.samples.kept |= {f"{name}.{part}": value for part, value in state.items()}
        done, of = epoch + 1, self._epochs[stage]
        is_due = stage == ROUNDS and done % self.settings.every == 0
        if stage != FIT and (is_due or done == of):
            self._judge(done / of if stage == ROUNDS else 0.0)

    def _judge(self, progress: float) -> None:
        update_on_first(lambda: self._renew_table(progress), self.samples)

    def _renew_table(self, progress: float) -> None:
        self.network.eval()
        judged = judge([each.network for each in self.learners.values()], self._folds, self._inputs)
        retrieved = update_table(self.samples, judged, self._folds, self.rounds, progress)
        self._round = measure_round(self.samples, retrieved, self._truth, self._card.labels)
        self.network.train()

    def loss(self, stage: str, batch: Batch) -> Tensor:
        """The mean over the batch of cross-entropy, of all and of each branch, with MIM, and after
        the warm-up with DCL; with two folds each network has the faces of its own."""
        if stage == FIT or len(self.learners) == 1:
            return self._learner_loss(stage, FIRST, batch, len(batch.x))
        folds = self._folds[batch.rows.cpu()]
        losses = []
        for fold, name in enumerate(self.learners):
            own = (folds == fold).nonzero()[:, 0].to(batch.x.device)
            # Without a face of its own a network still goes through the step, for nothing: other
            # workers' shares may have some, and wait for its statistics.
            weight = float(len(own) > 0)
            own = own if weight else torch.zeros(1, dtype=own.dtype, device=own.device)
            part = Batch(batch.x[own], batch.targets[own], batch.warps[own], batch.rows[own])
            loss = self._learner_loss(stage, name, part, len(batch.x) / 2, weight > 0)
            losses.append(weight * loss)
        return torch.stack(losses).sum()

    def _learner_loss(
        self, stage: str, name: str, batch: Batch, expected: float, is_own: bool = True
    ) -> Tensor:
        """The sum over a network's faces, divided by how many are `expected`: whatever the number
        of its faces, each counts as much. Only its own enter the class memory."""
        learner, rows = self.learners[name], batch.rows.cpu()
        x, targets, is_mixed = self._mix(stage, batch.x, batch.targets)
        vectors = learner.network.represent(x)
        entropies = [
            functional.cross_entropy(
                learner.network.classify(vectors).float(), targets, reduction="none"
            )
        ]
        for head, vector in zip(learner.heads, vectors.chunk(2, dim=1), strict=True):
            entropies.append(
                functional.cross_entropy(head(vector).float(), targets, reduction="none")
            )
        is_clean = self.samples.kept["is_clean"][rows].to(x.device)
        main, branches = self._weigh(stage, is_clean)
        each = main * entropies[0] + branches * BRANCHES * (entropies[1] + entropies[2])
        loss = each.sum() / expected
        self._follow("ce", entropies[0].mean())
        labels = self.samples.votes[rows].argmax(dim=1).to(x.device)
        whole = is_clean & ~is_mixed & is_own
        embeddings = to_embeddings(vectors)
        self._builders[name].add(embeddings[whole], labels[whole], self._classes)
        has_memory = f"{name}.count" in self.samples.kept
        if stage != WARMUP and self.settings.dcl != "none" and has_memory:
            loss = loss + self._contrast(name, embeddings, labels, whole, expected)
        if learner.decoder is not None:
            painted = self._paint(learner, batch.x)
            self._follow("mim", painted)
            loss = loss + self.settings.mim * painted * len(x) / expected
        return loss

    def _mix(self, stage: str, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mixup (Zhang et al. 2018, arXiv 1710.09412) of a share of the faces, and which they are;
        its own label has the larger share in a mixed face."""
        n, alpha = len(x), self.settings.mixup
        if stage == WARMUP or not alpha:
            return x, targets, torch.zeros(n, dtype=torch.bool, device=x.device)
        is_mixed = torch.rand(n, device=x.device) < MIXED
        drawn = torch.distributions.Beta(alpha, alpha).sample((n,)).to(x.device)
        share = torch.where(is_mixed, torch.maximum(drawn, 1 - drawn), 1.0)
        other = torch.randperm(n, device=x.device)
        x = torch.lerp(x[other], x, share[:, None, None, None])
        return x, torch.lerp(targets[other], targets, share[:, None]), is_mixed

    def _weigh(self, stage: str, is_clean: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (n,) of a face's cross-entropy and of that of its branches. With hard targets the
        clean faces and the others are two means, each over as many as the whole table has of them,
        not the batch: half a batch on each of two workers is then the same step."""
        ones = torch.ones(len(is_clean), device=is_clean.device)
        if stage == WARMUP or not self.rounds.hard:
            return ones, ones
        share = float(self.samples.kept["is_clean"].float().mean())
        clean = is_clean / max(share, 1e-6)
        risen = 1.0 if stage == FIT else min(1.0, (self._epoch + 1) / self.settings.ramp)
        other = risen * (self.rounds.retrieval != "none") / max(1 - share, 1e-6)
        return clean + other * ~is_clean, clean

    def _contrast(
        self, name: str, embeddings: Tensor, labels: Tensor, whole: Tensor, expected: float
    ) -> Tensor:
        """DCL of the clean faces, times the number of coordinates: on unit vectors a coordinate's
        part is about one by that number."""
        memory = read_memory(self.samples.kept, f"{name}.", embeddings.device)
        whole = whole & (memory.count[labels] > 1)
        if not whole.any():
            return embeddings.new_zeros(())
        each = FORMS[self.settings.dcl](embeddings[whole], labels[whole], memory)
        each = each * embeddings.shape[1]
        self._follow("dcl", each.mean())
        share = float(self.samples.kept["is_clean"].float().mean())
        share *= 1 - MIXED if self.settings.mixup else 1.0
        return self.settings.dcl_weight * each.sum() / (expected * max(share, 1e-6))

    def _paint(self, learner: Learner, x: Tensor) -> Tensor:
        """The loss of MIM; no label is learned from the masked face: too little of it is left."""
        assert learner.decoder is not None
        settings = self.settings
        masks = sample_masks(len(x), x.shape[-1], settings.patch_px, settings.mask, x.device)
        painted = paint(learner.network, learner.decoder, hide(x, masks))
        truth = normalise_patches(x, settings.patch_px) if settings.normalised else x
        return reconstruction_loss(painted.float(), truth, masks)

    def _follow(self, name: str, value: Tensor) -> None:
        self._sums.setdefault(name, []).append(value.detach())

    def train_metrics(self) -> dict[str, float]:
        """`ce`, `mim` and `dcl`, the means of the losses without their weights, and after a round
        what `measure_round` says of it."""
        means = {
            name: round(float(torch.stack(values).mean()), 5) for name, values in self._sums.items()
        }
        found = means | self._round
        self._sums, self._round = {}, {}
        return found

    def logits(self, stage: str, x: Tensor, ids: NDArray[np.int64]) -> Tensor | None:
        """Those of the network that serves: before `fit`, with two folds, it saw half the faces."""
        logits: Tensor = self.learners[FIRST].network(x)
        return logits

    def serving_state(self, state: State) -> State:
        """The first network, without the heads of its branches and the decoder."""
        return select_prefix(state, f"{FIRST}.network")


OBJECTIVE = DRFERObjective
