"""One stage of a recipe in progress: its steps, its checkpoint, the best of its weights."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from models.errors import ModelError
from models.weights import State
from trainer import checkpoint
from trainer.batches import AugmentedBatches
from trainer.distributed import DistributedContext
from trainer.errors import DataError
from trainer.objectives.base import Batch, Objective
from trainer.optimisation import (
    MovingAverage,
    group_parameters,
    learning_rate,
    resolution_at,
    sample_order,
)
from trainer.recipes import Recipe, Stage, hash_run
from trainer.samples import VERSION as SAMPLES_VERSION
from trainer.samples import SampleTable

OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
GRADIENT_WITHIN = 50
"""Steps within which every parameter must have had a gradient other than zero."""
OTHER_DIRECTORY = "train in another run directory, or delete this one"
Progress = Callable[[str, int, int], None]
"""Called after every step with what is being done, and how much of how much is done."""


class StageRun:
    """One stage in progress: network, optimiser, averaged weights, epochs and steps done."""

    def __init__(
        self,
        objective: Objective,
        recipe: Recipe,
        stage: Stage,
        samples: SampleTable,
        seed: int,
        run_dir: Path,
        dtype: torch.dtype,
        context: DistributedContext,
        distill: Callable[[Batch], Batch],
    ) -> None:
        self._context, self._distill, self._samples = context, distill, samples
        self.objective, self.network, self.stage = objective, objective.network, stage
        self.average = MovingAverage(self.network, stage.ema)
        self.history: list[dict[str, Any]] = []
        self.epochs_done = 0
        self._steps_done = 0
        self._seed = seed
        self._dtype = dtype
        self._parameters = objective.parameters(stage.name)
        self._without_gradient = list(self._parameters)
        self._optimizer = OPTIMIZERS[stage.optimizer](
            group_parameters(self.network, self._parameters, stage),
            lr=stage.lr,
            weight_decay=stage.weight_decay,
            fused=True,
        )
        # Later stages are not part of it: they may change while a run is between two stages.
        stages = recipe.stages[: recipe.stages.index(stage) + 1]
        self._hash = hash_run(replace(recipe, stages=stages), seed)
        self._checkpoint = run_dir / f"{stage.name}.safetensors"
        self._best = checkpoint.BestWeights(run_dir / f"{stage.name}-best.safetensors", self._hash)

    def resume(self) -> None:
        """Go on from the checkpoint, where there is one; raises DataError for that of another
        run."""
        if not self._checkpoint.exists():
            return
        if checkpoint.read_progress(self._checkpoint).recipe_hash != self._hash:
            raise DataError("run of another recipe or seed", str(self._checkpoint), OTHER_DIRECTORY)
        progress = checkpoint.load(
            self._checkpoint, self.network, self.average, self._optimizer, self._samples
        )
        self.epochs_done, self._steps_done = progress.epochs_done, progress.steps_done
        self.history = progress.history

    def keep_best(self, score: float | None) -> None:
        """Write the averaged weights where no epoch before this one had a higher `score`."""
        if score is not None:
            self._best.offer(self.average.state, score, self.epochs_done)

    def load_best(self) -> tuple[State, int]:
        """The best of the weights that were scored, and after how many epochs; the last ones where
        none was."""
        return self._best.load(self.epochs_done) or (self.average.state, self.epochs_done)

    def save(self, metrics: dict[str, Any]) -> None:
        """Write the checkpoint of an epoch with these metrics."""
        self.history.append(metrics)
        progress = checkpoint.TrainingProgress(
            *(self.stage.name, self.epochs_done, self._steps_done, self.history, self._hash),
            SAMPLES_VERSION,
        )
        checkpoint.save(
            *(self._checkpoint, self.network, self.average, self._optimizer, self._samples),
            progress,
        )

    def train_epoch(
        self, faces: AugmentedBatches, progress: Progress = lambda what, done, of: None
    ) -> dict[str, Any]:
        """One epoch over the faces in a new order; the last, incomplete batch is left out."""
        stage = self.stage
        # The epoch's own generator gives the order and the augmentations. Torch's global one, for
        # dropout and the objective's noise, is seeded from it with the worker's number: workers
        # must agree on the order of the faces, but not drop the same units.
        generator = torch.Generator().manual_seed(
            _epoch_seed(self._seed, stage.name, self.epochs_done)
        )
        worker_seed = int(torch.randint(2**62, (1,), generator=generator)) + self._context.rank
        torch.manual_seed(worker_seed)
        size = resolution_at(stage, self.epochs_done)
        self.objective.start_epoch(stage.name, self.epochs_done)
        order = sample_order(self._samples, stage.balance, generator)
        batches = order[: len(order) // stage.batch * stage.batch].view(-1, stage.batch)
        total = 0.0
        self.network.train()
        what = f"{stage.name} {self.epochs_done + 1}/{stage.epochs}"
        for done, rows in enumerate(batches, start=1):
            # Before the step: the first one runs at the start of the schedule, and none at its end.
            lr = learning_rate(stage, self._steps_done / (stage.epochs * len(batches)))
            for group in self._optimizer.param_groups:
                group["lr"] = lr * group["scale"]
            # Every worker augments the whole batch and then takes its share: the random numbers,
            # and so the faces, are those of a run with one worker.
            batch = faces(rows, size, generator, stage.observations)
            total += self._step(self._context.share(batch))
            progress(what, done, len(batches))
        self.objective.end_epoch(stage.name, self.epochs_done)
        total = self._context.mean(total)
        self.epochs_done += 1
        if not math.isfinite(total):
            where = f"stage {stage.name}, epoch {self.epochs_done}"
            raise ModelError("the loss is not a number", where, "lower the learning rate")
        return {
            "stage": stage.name,
            "epoch": self.epochs_done,
            "epochs": stage.epochs,
            "px": size,
            "loss": round(total / len(batches), 5),
            "lr": round(lr, 7),
            **self.objective.train_metrics(),
        }

    def _step(self, batch: Batch) -> float:
        kind = torch.device(self._context.device).type
        with torch.autocast(kind, self._dtype, enabled=self._dtype != torch.float32):
            loss = self.objective.loss(self.stage.name, self._distill(batch))
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self._steps_done < GRADIENT_WITHIN:
            self._check_gradients()
        # Averaged before they are clipped: the norm is that of the whole batch's gradient, and all
        # workers take the same step.
        self._context.average_gradients(self._parameters)
        if self.stage.clip_norm:
            torch.nn.utils.clip_grad_norm_(self._parameters, self.stage.clip_norm)
        self._optimizer.step()
        self.average.update(self.network, self._steps_done)
        self._steps_done += 1
        return float(loss.detach())

    def _check_gradients(self) -> None:
        """Every parameter has a gradient at the first step, and one other than zero within
        `GRADIENT_WITHIN` steps: otherwise it would keep its random initial value, unnoticed."""
        missing = [value for value in self._without_gradient if value.grad is None]
        self._without_gradient = [
            value for value in self._without_gradient if value.grad is None or not value.grad.any()
        ]
        is_last_check = self._steps_done == GRADIENT_WITHIN - 1
        if missing or (self._without_gradient and is_last_check):
            names = {id(value): name for name, value in self.network.named_parameters()}
            where = f"stage {self.stage.name}, step {self._steps_done + 1}"
            what = f"no gradient for {names[id((missing or self._without_gradient)[0])]}"
            raise ModelError(what, where, "leave it out of the stage")


def _epoch_seed(seed: int, stage: str, epoch: int) -> int:
    # A hash, not a sum: seed 1 in epoch 2 shares no random number with seed 2 in epoch 1. Seven
    # bytes, because a generator takes signed 64-bit seeds.
    digest = hashlib.sha256(f"{seed}:{stage}:{epoch}".encode()).digest()
    return int.from_bytes(digest[:7], "big")
