"""The training loop: a recipe, faces and a seed in; averaged weights out.

Needs torch, numpy, cv2, safetensors and the standard library. All random numbers of an epoch come
from (seed, stage, epoch), so a resumed run is bitwise equal to one that was never interrupted.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from models.atomic_files import writing
from models.errors import ModelError
from models.weights import ModelCard, State
from trainer import checkpoint
from trainer.batches import AugmentedBatches
from trainer.data.faceset import FaceSet
from trainer.distillation import open_teachers
from trainer.distributed import SINGLE_PROCESS, DistributedContext
from trainer.errors import DataError
from trainer.objectives import build_objective, find_objective
from trainer.objectives.base import Batch, Objective
from trainer.optimisation import (
    MovingAverage,
    group_parameters,
    is_validation_due,
    learning_rate,
    resolution_at,
    sample_order,
)
from trainer.pretrained import load_encoder
from trainer.recipes import Recipe, Stage, hash_run
from trainer.samples import VERSION as SAMPLES_VERSION
from trainer.samples import SampleTable
from trainer.validation import ValidationSplit

Report = Callable[[dict[str, Any]], None]
"""Called after every epoch with: stage, epoch, epochs, px, loss, lr, the objective's training
metrics, and, where validation is due, the accuracies on the validation split."""
OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
GRADIENT_WITHIN = 50
"""Steps within which every parameter must have had a gradient other than zero."""
OTHER_DIRECTORY = "train in another run directory, or delete this one"


@dataclass(frozen=True)
class TrainingResult:
    """Averaged weights, the report of each epoch, and the objective, which can calibrate them."""

    state: State
    history: list[dict[str, Any]]
    objective: Objective


def train(
    recipe: Recipe,
    card: ModelCard,
    faces: FaceSet,
    validation: FaceSet | None,
    seed: int,
    run_dir: Path,
    dtype: torch.dtype = torch.float32,
    report: Report = lambda line: None,
    context: DistributedContext = SINGLE_PROCESS,
) -> TrainingResult:
    """Run the recipe's stages in order, from the checkpoint in `run_dir` where there is one.

    Every worker of a distributed run calls this with the same faces; the first one writes the
    checkpoints. Raises DataError for fewer faces than a batch, a batch that the workers cannot
    share evenly, and a `run_dir` that holds a damaged checkpoint or a run with another recipe,
    seed or faces.
    """
    _check_batches(recipe, faces, context)
    if context.is_first:
        _claim_run_dir(run_dir, faces)
    context.wait()
    torch.manual_seed(seed)
    objective = build_objective(recipe, card)
    if recipe.encoder:
        load_encoder(recipe.encoder, objective.network, card)
    objective.network.to(context.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    samples = SampleTable.of(faces)
    objective.prepare(samples, faces, run_dir)
    batches = AugmentedBatches(faces, card, recipe, samples)
    distill = _keep_targets
    if recipe.distillation:
        distill = open_teachers(recipe.distillation, card, context.device, faces)
    split = None if validation is None else ValidationSplit.of(validation, card, recipe.panel)
    history: list[dict[str, Any]] = []
    state: State = {}
    for stage in recipe.stages:
        objective.start_stage(stage.name)
        run = _StageRun(objective, recipe, stage, samples, seed, run_dir, dtype, context, distill)
        run.resume()
        while run.epochs_done < stage.epochs:
            metrics = run.train_epoch(batches)
            if context.is_first:
                if split is not None and is_validation_due(stage, run.epochs_done):
                    metrics |= split.evaluate(objective, stage.name, run.average.state)
                # The checkpoint first, then the report: an epoch that was reported is never
                # repeated after a crash.
                run.save(metrics)
            report(metrics)
            # No worker starts the next epoch before the checkpoint of this one is on disk, so all
            # of them resume from the same epoch.
            context.wait()
        history += run.history
        state = run.average.state
        objective.network.load_state_dict(state)
    return TrainingResult(objective.serving_state(state), history, objective)


class _StageRun:
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

    def resume(self) -> None:
        if not self._checkpoint.exists():
            return
        if checkpoint.read_progress(self._checkpoint).recipe_hash != self._hash:
            raise DataError("run of another recipe or seed", str(self._checkpoint), OTHER_DIRECTORY)
        progress = checkpoint.load(
            self._checkpoint, self.network, self.average, self._optimizer, self._samples
        )
        self.epochs_done, self._steps_done = progress.epochs_done, progress.steps_done
        self.history = progress.history

    def save(self, metrics: dict[str, Any]) -> None:
        self.history.append(metrics)
        progress = checkpoint.TrainingProgress(
            *(self.stage.name, self.epochs_done, self._steps_done, self.history, self._hash),
            SAMPLES_VERSION,
        )
        checkpoint.save(
            *(self._checkpoint, self.network, self.average, self._optimizer, self._samples),
            progress,
        )

    def train_epoch(self, faces: AugmentedBatches) -> dict[str, Any]:
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
        for rows in batches:
            # Before the step: the first one runs at the start of the schedule, and none at its end.
            lr = learning_rate(stage, self._steps_done / (stage.epochs * len(batches)))
            for group in self._optimizer.param_groups:
                group["lr"] = lr * group["scale"]
            # Every worker augments the whole batch and then takes its share: the random numbers,
            # and so the faces, are those of a run with one worker.
            batch = faces(rows, size, generator, stage.observations)
            total += self._step(self._context.share(batch))
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


def _check_batches(recipe: Recipe, faces: FaceSet, context: DistributedContext) -> None:
    for batch in (stage.batch for stage in recipe.stages):
        if len(faces) < batch:
            raise DataError(f"{len(faces)} faces to train on", faces.name, f"a batch takes {batch}")
        if batch % context.size:
            raise DataError(f"batches of {batch}", f"{context.size} workers", "give a divisor")
    objective = find_objective(recipe.model, recipe.objective)
    name = recipe.objective.get("name", recipe.model)
    softens = recipe.distillation is not None and recipe.distillation.temperature != 1
    if softens and not objective.takes_soft_labels:
        what, where = f"{name} does not learn from soft labels", "--distill-temperature"
        raise DataError(what, where, "leave it out")
    if context.size > 1 and objective.mixes_faces:
        where = f"{context.size} workers"
        raise DataError(f"{name} compares the faces of a batch", where, "train with one worker")


def _claim_run_dir(run_dir: Path, faces: FaceSet) -> None:
    """Bind a run directory to its first faces: weights must not be trained on others than those
    that their card names."""
    note, own = run_dir / "faces.sha256", faces.fingerprint()
    if note.is_file() and note.read_text(encoding="ascii") != own:
        raise DataError("run on other faces", str(run_dir), OTHER_DIRECTORY)
    with writing(note) as unfinished:
        unfinished.write_text(own, encoding="ascii")


def _keep_targets(batch: Batch) -> Batch:
    return batch


def _epoch_seed(seed: int, stage: str, epoch: int) -> int:
    # A hash, not a sum: seed 1 in epoch 2 shares no random number with seed 2 in epoch 1. Seven
    # bytes, because a generator takes signed 64-bit seeds.
    digest = hashlib.sha256(f"{seed}:{stage}:{epoch}".encode()).digest()
    return int.from_bytes(digest[:7], "big")
