"""The training loop: a recipe, faces and a seed in; averaged weights out.

Runs on torch, numpy, cv2, safetensors and the standard library. Every random draw of an epoch comes
from (seed, stage, epoch), so a resumed run is bitwise the run that was never stopped.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.crops import crops_from_tiles, to_model_input
from models.errors import ModelError
from models.loading import build_network
from models.weights import ModelCard, State
from trainer import checkpoint
from trainer.augment import augment
from trainer.data.faceset import FaceSet
from trainer.ema import MovingAverage
from trainer.errors import DataError
from trainer.recipes import Recipe, Stage

Report = Callable[[dict[str, Any]], None]
"""Told after every epoch: stage, epoch, epochs, px, loss, lr, accuracy on what is held out."""
CHUNK = 512
ELSEWHERE = "train in another run directory, or delete this one"


@dataclass(frozen=True)
class Trained:
    """Averaged weights, and what each epoch measured."""

    state: State
    history: list[dict[str, Any]]


def model_inputs(faces: FaceSet, card: ModelCard) -> Tensor:
    """All faces through the one door to a network's input: (n, c, px, px) float32."""
    chunks = [
        to_model_input(crops_from_tiles(faces.tiles[start : start + CHUNK]), card)
        for start in range(0, len(faces), CHUNK)
    ]
    return torch.cat(chunks)


def train(
    recipe: Recipe,
    card: ModelCard,
    faces: FaceSet,
    validation: FaceSet | None,
    seed: int,
    run_dir: Path,
    dtype: torch.dtype = torch.float32,
    report: Report = lambda line: None,
) -> Trained:
    """Run the recipe's stages in order, from the checkpoint in `run_dir` where there is one.

    Raises DataError for fewer faces than a batch, and for a `run_dir` that holds a damaged
    checkpoint or another run: its recipe, seed and faces must be these.
    """
    most = max(stage.batch for stage in recipe.stages)
    if len(faces) < most:
        raise DataError(f"{len(faces)} faces to train on", faces.name, f"a batch takes {most}")
    _claim(run_dir, faces)
    torch.manual_seed(seed)
    network = build_network(card)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    inputs, targets = model_inputs(faces, card), torch.from_numpy(faces.targets)
    held = None
    if validation is not None:
        held = model_inputs(validation, card), torch.from_numpy(validation.labels)
    history: list[dict[str, Any]] = []
    state: State = {}
    for stage in recipe.stages:
        run = _StageRun(network, recipe, stage, seed, run_dir, dtype)
        run.resume()
        while run.epochs_done < stage.epochs:
            measured = run.epoch(inputs, targets)
            if held is not None:
                measured["accuracy"] = accuracy(network, run.average.state, *held)
            run.save(measured)
            report(measured)
        history += run.history
        state = run.average.state
    return Trained(state, history)


class _StageRun:
    """One stage under way: network, optimiser, average, and how far it got."""

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        stage: Stage,
        seed: int,
        run_dir: Path,
        dtype: torch.dtype,
    ) -> None:
        self.network, self.recipe, self.stage = network, recipe, stage
        self.average = MovingAverage(network, stage.ema)
        self.history: list[dict[str, Any]] = []
        self.epochs_done = 0
        self._steps_done = 0
        self._seed = seed
        self._dtype = dtype
        self._optimizer = torch.optim.AdamW(
            network.parameters(), lr=stage.lr, weight_decay=stage.weight_decay, fused=True
        )
        done = recipe.stages[: recipe.stages.index(stage) + 1]
        self._hash = _digest(replace(recipe, stages=done), seed)
        self._checkpoint = run_dir / f"{stage.name}.safetensors"

    def resume(self) -> None:
        if not self._checkpoint.exists():
            return
        if checkpoint.read_place(self._checkpoint).recipe_hash != self._hash:
            raise DataError("run of another recipe or seed", str(self._checkpoint), ELSEWHERE)
        place = checkpoint.load(self._checkpoint, self.network, self.average, self._optimizer)
        self.epochs_done, self._steps_done = place.epochs_done, place.steps_done
        self.history = place.history

    def save(self, measured: dict[str, Any]) -> None:
        self.history.append(measured)
        place = checkpoint.Place(
            self.stage.name, self.epochs_done, self._steps_done, self.history, self._hash
        )
        checkpoint.save(self._checkpoint, self.network, self.average, self._optimizer, place)

    def epoch(self, inputs: Tensor, targets: Tensor) -> dict[str, Any]:
        """One pass over the faces in a fresh order; the last, incomplete batch is left out."""
        stage = self.stage
        draws = torch.Generator().manual_seed(_seed_of(self._seed, stage.name, self.epochs_done))
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=draws)))
        size = resolution_at(stage, self.epochs_done)
        order = torch.randperm(len(inputs), generator=draws)
        batches = order[: len(order) // stage.batch * stage.batch].view(-1, stage.batch)
        total = 0.0
        self.network.train()
        for batch in batches:
            lr = one_cycle(self._steps_done / (stage.epochs * len(batches)), stage.lr)
            for group in self._optimizer.param_groups:
                group["lr"] = lr
            x = augment(inputs[batch], self.recipe.augment, draws)
            total += self._step(_shrunk(x, size), targets[batch])
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
        }

    def _step(self, x: Tensor, targets: Tensor) -> float:
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", self._dtype, enabled=self._dtype != torch.float32):
            logits = self.network(x)
        loss = functional.cross_entropy(logits.float(), targets)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self.average.update(self.network, self._steps_done)
        self._steps_done += 1
        return float(loss.detach())


def one_cycle(done: float, peak: float, warm_up: float = 0.25) -> float:
    """Learning rate after a share `done` (0..1) of the steps: a cosine up, then down to nothing.

    From peak / 25 to `peak` in the first quarter (Smith & Topin 2017, arXiv 1708.07120).
    """
    if done < warm_up:
        rise = (1 - math.cos(math.pi * done / warm_up)) / 2
        return peak / 25 + (peak - peak / 25) * rise
    return peak * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up))) / 2


def resolution_at(stage: Stage, epoch: int) -> int:
    """Pixels that epoch number `epoch` (from 0) is trained at."""
    return [px for share, px in stage.resolution if epoch >= share * stage.epochs][-1]


@torch.inference_mode()
def accuracy(network: nn.Module, state: State, inputs: Tensor, labels: Tensor) -> float:
    """Share of right answers of the averaged weights; the network gets its own weights back."""
    own = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(state)
    network.eval()
    answers = torch.cat([network(x).argmax(dim=1) for x in torch.split(inputs, CHUNK)])
    network.load_state_dict(own)
    return round(float((answers == labels).float().mean()), 5)


def _claim(run_dir: Path, faces: FaceSet) -> None:
    """A run directory belongs to the faces it was begun with: weights must not learn from others
    than those their card names."""
    note, own = run_dir / "faces.sha256", faces.fingerprint()
    if note.is_file() and note.read_text(encoding="ascii") != own:
        raise DataError("run on other faces", str(run_dir), ELSEWHERE)
    run_dir.mkdir(parents=True, exist_ok=True)
    note.write_text(own, encoding="ascii")


def _shrunk(x: Tensor, size: int) -> Tensor:
    if x.shape[-1] == size:
        return x
    return functional.interpolate(x, size=(size, size), mode="bilinear", antialias=True)


def _seed_of(seed: int, stage: str, epoch: int) -> int:
    digest = hashlib.sha256(f"{seed}:{stage}:{epoch}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def _digest(recipe: Recipe, seed: int) -> str:
    text = json.dumps([asdict(recipe), seed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
