"""The training loop: a recipe, faces and a seed in; averaged weights out.

Runs on torch, numpy, cv2, safetensors and the standard library. Every random draw of an epoch comes
from (seed, stage, epoch), so a resumed run is bitwise the run that was never stopped.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch

from models.atomic_files import writing
from models.errors import ModelError
from models.weights import ModelCard, State
from trainer import checkpoint
from trainer.batches import AugmentedBatches
from trainer.data.faceset import FaceSet
from trainer.distributed import ALONE, DistributedContext
from trainer.ema import MovingAverage
from trainer.errors import DataError
from trainer.objectives import objective_class, objective_for
from trainer.objectives.base import Batch, Objective
from trainer.pretrained import load_encoder
from trainer.recipes import Recipe, Stage
from trainer.samples import VERSION as SAMPLES_VERSION
from trainer.samples import SampleTable
from trainer.schedule import drawn_order, is_measured, rate, resolution_at
from trainer.teachers import open_teachers
from trainer.validation import Validation

Report = Callable[[dict[str, Any]], None]
"""Told after every epoch: stage, epoch, epochs, px, loss, lr, what the objective tells, and where
`is_measured` accuracy on what is held out, and there behind displays where the recipe has some."""
OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
REACHED_BY = 50
ELSEWHERE = "train in another run directory, or delete this one"


@dataclass(frozen=True)
class Trained:
    """Averaged weights, what each epoch measured, and the objective, which can calibrate them."""

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
    team: DistributedContext = ALONE,
) -> Trained:
    """Run the recipe's stages in order, from the checkpoint in `run_dir` where there is one.

    Every worker of a `team` calls this with the same faces; its first one keeps the checkpoints.
    Raises DataError for fewer faces than a batch, a batch that cannot be shared out evenly, and
    for a `run_dir` that holds a damaged checkpoint or another run: its recipe, seed and faces must
    be these.
    """
    _check_batches(recipe, faces, team)
    if team.is_first:
        _claim(run_dir, faces)
    team.wait()
    torch.manual_seed(seed)
    objective = objective_for(recipe, card)
    if recipe.encoder:
        load_encoder(recipe.encoder, objective.network, card)
    objective.network.to(team.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    samples = SampleTable.of(faces)
    objective.prepare(samples, faces, run_dir)
    batches = AugmentedBatches(faces, card, recipe, samples)
    taught = open_teachers(recipe.distil, card, team.device, faces) if recipe.distil else _untaught
    held = None if validation is None else Validation.of(validation, card, recipe.panel)
    history: list[dict[str, Any]] = []
    state: State = {}
    for stage in recipe.stages:
        objective.start_stage(stage.name)
        run = _StageRun(objective, recipe, stage, samples, seed, run_dir, dtype, team, taught)
        run.resume()
        while run.epochs_done < stage.epochs:
            measured = run.epoch(batches)
            if team.is_first:
                if held is not None and is_measured(stage, run.epochs_done):
                    measured |= held.measured(objective, stage.name, run.average.state)
                run.save(measured)
            report(measured)
            team.wait()
        history += run.history
        state = run.average.state
        objective.network.load_state_dict(state)
    return Trained(objective.serving_state(state), history, objective)


class _StageRun:
    """One stage under way: network, optimiser, average, and how far it got."""

    def __init__(
        self,
        objective: Objective,
        recipe: Recipe,
        stage: Stage,
        samples: SampleTable,
        seed: int,
        run_dir: Path,
        dtype: torch.dtype,
        team: DistributedContext,
        taught: Callable[[Batch], Batch],
    ) -> None:
        self._team, self._taught, self._samples = team, taught, samples
        self.objective, self.network, self.stage = objective, objective.network, stage
        self.average = MovingAverage(self.network, stage.ema)
        self.history: list[dict[str, Any]] = []
        self.epochs_done = 0
        self._steps_done = 0
        self._seed = seed
        self._dtype = dtype
        self._trained = objective.parameters(stage.name)
        self._still = list(self._trained)
        self._optimizer = OPTIMIZERS[stage.optimizer](
            _groups(self.network, self._trained, stage),
            lr=stage.lr,
            weight_decay=stage.weight_decay,
            fused=True,
        )
        done = recipe.stages[: recipe.stages.index(stage) + 1]
        self._hash = digest(replace(recipe, stages=done), seed)
        self._checkpoint = run_dir / f"{stage.name}.safetensors"

    def resume(self) -> None:
        if not self._checkpoint.exists():
            return
        if checkpoint.read_place(self._checkpoint).recipe_hash != self._hash:
            raise DataError("run of another recipe or seed", str(self._checkpoint), ELSEWHERE)
        place = checkpoint.load(
            self._checkpoint, self.network, self.average, self._optimizer, self._samples
        )
        self.epochs_done, self._steps_done = place.epochs_done, place.steps_done
        self.history = place.history

    def save(self, measured: dict[str, Any]) -> None:
        self.history.append(measured)
        place = checkpoint.Place(
            *(self.stage.name, self.epochs_done, self._steps_done, self.history, self._hash),
            SAMPLES_VERSION,
        )
        checkpoint.save(
            *(self._checkpoint, self.network, self.average, self._optimizer, self._samples), place
        )

    def epoch(self, faces: AugmentedBatches) -> dict[str, Any]:
        """One pass over the faces in a fresh order; the last, incomplete batch is left out."""
        stage = self.stage
        draws = torch.Generator().manual_seed(_seed_of(self._seed, stage.name, self.epochs_done))
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=draws)) + self._team.rank)
        size = resolution_at(stage, self.epochs_done)
        self.objective.start_epoch(stage.name, self.epochs_done)
        order = drawn_order(self._samples, stage.balance, draws)
        batches = order[: len(order) // stage.batch * stage.batch].view(-1, stage.batch)
        total = 0.0
        self.network.train()
        for rows in batches:
            lr = rate(stage, self._steps_done / (stage.epochs * len(batches)))
            for group in self._optimizer.param_groups:
                group["lr"] = lr * group["scale"]
            total += self._step(self._team.share(faces(rows, size, draws)))
        self.objective.end_epoch(stage.name, self.epochs_done)
        total = self._team.mean(total)
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
        kind = torch.device(self._team.device).type
        with torch.autocast(kind, self._dtype, enabled=self._dtype != torch.float32):
            loss = self.objective.loss(self.stage.name, self._taught(batch))
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self._steps_done < REACHED_BY:
            self._check_reach()
        self._team.average_gradients(self._trained)
        if self.stage.clip_norm:
            torch.nn.utils.clip_grad_norm_(self._trained, self.stage.clip_norm)
        self._optimizer.step()
        self.average.update(self.network, self._steps_done)
        self._steps_done += 1
        return float(loss.detach())

    def _check_reach(self) -> None:
        """A parameter that the loss does not reach would stay as it was drawn, unseen: each has a
        gradient at the first step, and one other than zero within `REACHED_BY` steps."""
        lost = [value for value in self._still if value.grad is None]
        self._still = [v for v in self._still if v.grad is None or not v.grad.any()]
        if lost or (self._still and self._steps_done == REACHED_BY - 1):
            names = {id(value): name for name, value in self.network.named_parameters()}
            where = f"stage {self.stage.name}, step {self._steps_done + 1}"
            what = f"no gradient for {names[id((lost or self._still)[0])]}"
            raise ModelError(what, where, "leave it out of the stage")


def _groups(
    network: torch.nn.Module, trained: list[torch.nn.Parameter], stage: Stage
) -> list[dict[str, Any]]:
    """The stage's parameters by the factor of their learning rate, for an optimiser."""
    names = {id(value): name for name, value in network.named_parameters()}
    groups: dict[float, list[torch.nn.Parameter]] = {}
    for value in trained:
        name = names[id(value)]
        scale = next((s for part, s in stage.lr_scale if name.startswith(f"{part}.")), 1.0)
        groups.setdefault(scale, []).append(value)
    return [{"params": values, "scale": scale} for scale, values in groups.items()]


def _check_batches(recipe: Recipe, faces: FaceSet, team: DistributedContext) -> None:
    for batch in (stage.batch for stage in recipe.stages):
        if len(faces) < batch:
            raise DataError(f"{len(faces)} faces to train on", faces.name, f"a batch takes {batch}")
        if batch % team.size:
            raise DataError(f"batches of {batch}", f"{team.size} workers", "give a divisor")
    if team.size > 1 and objective_class(recipe.model, recipe.objective).mixes_faces:
        name, where = recipe.objective.get("name", recipe.model), f"{team.size} workers"
        raise DataError(f"{name} compares the faces of a batch", where, "train with one worker")


def _claim(run_dir: Path, faces: FaceSet) -> None:
    """A run directory belongs to the faces it was begun with: weights must not learn from others
    than those their card names."""
    note, own = run_dir / "faces.sha256", faces.fingerprint()
    if note.is_file() and note.read_text(encoding="ascii") != own:
        raise DataError("run on other faces", str(run_dir), ELSEWHERE)
    with writing(note) as unfinished:
        unfinished.write_text(own, encoding="ascii")


def _untaught(batch: Batch) -> Batch:
    return batch


def _seed_of(seed: int, stage: str, epoch: int) -> int:
    digest = hashlib.sha256(f"{seed}:{stage}:{epoch}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def digest(recipe: Recipe, seed: int) -> str:
    """What a checkpoint is known by: hex, of all that a run depends on but its faces."""
    return hashlib.sha256(json.dumps([_said(recipe), seed], sort_keys=True).encode()).hexdigest()


def _said(value: Any) -> Any:
    """A recipe as JSON has it, without the fields that change nothing (`recipes.SINCE_DEFAULT`)."""
    if isinstance(value, tuple | list):
        return [_said(each) for each in value]
    if isinstance(value, dict):
        return {name: _said(each) for name, each in value.items()}
    if not is_dataclass(value):
        return value
    told = ((one, getattr(value, one.name)) for one in fields(value))
    return {
        one.name: _said(each)
        for one, each in told
        if not (one.metadata.get("since_default") and each == one.default)
    }
