"""The training loop: a recipe, faces and a seed in; averaged weights out.

Needs torch, numpy, cv2, safetensors and the standard library. All random numbers of an epoch come
from (seed, stage, epoch), so a resumed run is bitwise equal to one that was never interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.atomic_files import writing
from models.weights import ModelCard, State
from trainer.batches import AugmentedBatches
from trainer.data.faceset import FaceSet
from trainer.distillation import open_teachers
from trainer.distributed import SINGLE_PROCESS, DistributedContext
from trainer.errors import DataError, OptionError
from trainer.objectives import build_objective, find_objective
from trainer.objectives.base import Batch, Objective
from trainer.optimisation import is_validation_due
from trainer.pretrained import load_encoder
from trainer.recipes import Recipe
from trainer.samples import SampleTable
from trainer.shared_norms import share_norms
from trainer.stage_run import OTHER_DIRECTORY, Progress, StageRun
from trainer.validation import HardFace, ValidationSplit

Report = Callable[[dict[str, Any]], None]
"""Called after every epoch with: stage, epoch, epochs, px, loss, lr, the objective's training
metrics, and, where validation is due, the accuracies on the validation split, the recall of each
class and, where they are wanted, the hardest faces (`trainer.validation.HardFace`)."""
LAST, BEST = "last", "best"


@dataclass(frozen=True)
class RunOptions:
    """`select`: the weights of the `last` epoch, or those that were `best` on the validation split;
    `hardest`: report so many faces of the split, those with the highest loss; `progress`: called
    after every step. None of them changes what is trained."""

    select: str = LAST
    hardest: int = 0
    progress: Progress = lambda what, done, of: None

    def __post_init__(self) -> None:
        if self.select not in (LAST, BEST):
            known = f"give {LAST} or {BEST}"
            raise OptionError(f"the {self.select!r} weights", "--select", known)


@dataclass(frozen=True)
class TrainingResult:
    """Averaged weights, those after `epoch` epochs of the last stage; the metrics of each epoch;
    and the objective, which can calibrate them."""

    state: State
    history: list[dict[str, Any]]
    objective: Objective
    epoch: int


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
    options: RunOptions = RunOptions(),
) -> TrainingResult:
    """Run the recipe's stages in order, from the checkpoint in `run_dir` where there is one.

    Every worker of a distributed run calls this with the same faces; the first one validates,
    writes the checkpoints, and has the result: the others do not know which weights were best.
    Raises DataError for fewer faces than a batch, a batch that the workers cannot share evenly, and
    a `run_dir` that holds a damaged checkpoint or a run with another recipe, seed or faces.
    """
    _check_batches(recipe, faces, context)
    if context.is_first:
        _claim_run_dir(run_dir, faces)
    context.share_files()
    torch.manual_seed(seed)
    objective = build_objective(recipe, card)
    if recipe.encoder:
        load_encoder(recipe.encoder, objective.network, card)
    if context.size > 1:
        share_norms(objective.network)
    objective.network.to(context.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    samples = SampleTable.of(faces)
    objective.prepare(samples, faces, run_dir)
    batches = AugmentedBatches(faces, card, recipe, samples)
    distill = _keep_targets
    if recipe.distillation:
        distill = open_teachers(recipe.distillation, card, context.device, faces)
    split = None if validation is None else ValidationSplit.of(validation, card, recipe.panel)
    history: list[dict[str, Any]] = []
    for stage in recipe.stages:
        objective.start_stage(stage.name)
        run = StageRun(objective, recipe, stage, samples, seed, run_dir, dtype, context, distill)
        run.resume()
        _finish_stage(run, batches, split, report, context, options)
        history += run.history
        objective.network.load_state_dict(run.average.state)
    state, epoch = run.average.state, run.epochs_done
    if options.select == BEST:
        state, epoch = run.load_best()
    return TrainingResult(objective.serving_state(state), history, objective, epoch)


def _finish_stage(
    run: StageRun,
    batches: AugmentedBatches,
    split: ValidationSplit | None,
    report: Report,
    context: DistributedContext,
    options: RunOptions,
) -> None:
    """Train the epochs that a stage still lacks."""
    stage = run.stage
    while run.epochs_done < stage.epochs:
        metrics = run.train_epoch(batches, options.progress)
        hardest: dict[str, list[HardFace]] = {}
        if context.is_first:
            if split is not None and is_validation_due(stage, run.epochs_done):
                found = split.evaluate(run.objective, stage.name, run.average.state)
                hardest = split.list_hardest(found, options.hardest)
                metrics |= found.metrics
                run.keep_best(found.score)
            # The checkpoint first, then the report: an epoch that was reported is never repeated
            # after a crash.
            run.save(metrics)
            context.save_files()
        report(metrics | hardest)
        # No worker starts the next epoch before the checkpoint of this one is on disk, so all of
        # them resume from the same epoch.
        context.wait()


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
    if context.size > 1 and objective.compares_faces(recipe):
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
