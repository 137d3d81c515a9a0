"""Every family: a stopped run goes on bitwise, and two workers of 32 take the step of one of 64.

The workers are this file, run as a program. What an objective draws at random it draws for its own
share; here a worker draws for the whole batch and takes its share, so that the two can be compared.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as distributed
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.crops import GEOMETRY
from models.emotions import EMOTIONS
from models.registry import FAMILIES
from models.weights import ModelCard
from trainer.batches import AugmentedBatches
from trainer.data.faceset import FaceSet
from trainer.distributed import SINGLE_PROCESS, DistributedContext
from trainer.loop import train
from trainer.objectives import build_objective
from trainer.objectives.points import points_path
from trainer.recipes import Augment, Recipe, Stage
from trainer.samples import SampleTable
from trainer.shared_norms import share_norms

POSTER: dict[str, Any] = {
    **{"input_px": 16, "widths": [8, 16, 32], "dt_widths": [8, 16, 32]},
    **{"width": 16, "dropout": 0.0},
}
LRDIF = POSTER | {"prior": 12}
PLAIN: dict[str, Any] = {"width": 8, "dropout": 0.0}
DRFER: dict[str, Any] = PLAIN | {"stem_stride": 2, "embedding": 16}
EMODC: dict[str, Any] = PLAIN | {"head": "multi"}
BATCH = 64


def make(
    model: str, network: dict[str, Any], stages: str, px: int = 16, **objective: Any
) -> Recipe:
    staged = tuple(
        Stage(name, 2, batch=BATCH, resolution=((0.0, px),), clip_norm=1.0)
        for name in stages.split()
    )
    augment = Augment(erase_px=(2, 4))
    return Recipe(model, network, staged, input_px=px, augment=augment, objective=objective)


RECIPES = {
    "resnet18": make("resnet18", PLAIN | {"stem_stride": 2}, "fit"),
    "face-resnet": make("face-resnet", {"dropout": 0.0}, "fit", px=64),
    "poster": make("poster", POSTER, "points fit"),
    "lrdif": make("lrdif", LRDIF, "points s1 s2a s2"),
    "noise-resnet18": make("noise-resnet18", PLAIN, "fit"),
    "emodc": make("emodc", EMODC, "classifier decoder"),
    "emodc, AMDiT": make("emodc", EMODC, "base amdit-a1"),
    "drfer": make("drfer", DRFER, "warmup rounds fit", every=1, gallery=0, mim=0.0, mixup=0.0),
    "drfer, poster": make("drfer", DRFER, "warmup rounds", folds=1, every=1, hard=True, mixup=0.0),
}
"""Small networks of every family, all of their stages, by a name."""


def card_of(recipe: Recipe) -> ModelCard:
    return ModelCard(
        *("tiny", recipe.model, recipe.network, EMOTIONS, recipe.input_px, 1, (0.5,), (0.25,)),
        *(GEOMETRY, "made", "none"),
    )


def faces_of_noise(n: int = BATCH) -> FaceSet:
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (n, 48, 48), dtype=np.uint8)
    return FaceSet.of_labels("made", EMOTIONS, tiles, rng.integers(0, 8, n))


def keep_points(faces: FaceSet, run_dir: Path) -> None:
    """Landmarks as the detector would leave them."""
    rng = np.random.default_rng(1)
    run_dir.mkdir(parents=True, exist_ok=True)
    points = rng.random((len(faces), 5, 2), dtype=np.float32)
    np.savez(points_path(faces, run_dir), points=points, found=np.ones(len(faces), bool))


def test_every_family_is_here() -> None:
    assert {recipe.model for recipe in RECIPES.values()} == FAMILIES.keys()


class StoppedError(Exception):
    """The power goes out."""


@pytest.mark.parametrize("name", RECIPES)
def test_a_stopped_run_goes_on_bitwise(name: str, tmp_path: Path) -> None:
    """Stopped in the middle of every stage, one after the other."""
    recipe, faces = RECIPES[name], faces_of_noise()

    def go(folder: str, stop: str = "") -> Path:
        keep_points(faces, tmp_path / folder)

        def report(line: dict[str, Any]) -> None:
            if (line["stage"], line["epoch"]) == (stop, 1):
                raise StoppedError

        torch.manual_seed(len(folder))  # another process would stand elsewhere in its numbers
        train(recipe, card_of(recipe), faces, None, 0, tmp_path / folder, report=report)
        return tmp_path / folder

    whole = go("whole")
    for stage in recipe.stages:
        with pytest.raises(StoppedError):
            go("run", stage.name)
    resumed = go("run")
    for stage in recipe.stages:
        files = [folder / f"{stage.name}.safetensors" for folder in (whole, resumed)]
        assert files[0].read_bytes() == files[1].read_bytes(), stage.name


DRAWS = ("rand", "randn", "rand_like", "randn_like")


@contextmanager
def whole_batch_drawn(context: DistributedContext) -> Iterator[None]:
    """Random numbers of a share's length are drawn for the batch, and the share of them taken."""
    share, drawn = BATCH // context.size, {name: getattr(torch, name) for name in DRAWS}

    def sized(name: str) -> Callable[..., Tensor]:
        def draw(*arguments: Any, **options: Any) -> Tensor:
            first = arguments[0]
            shape = tuple(first.shape if isinstance(first, Tensor) else arguments)
            assert shape[0] == share, f"{name} of {shape} for a share of {share}"
            whole = drawn[name.removesuffix("_like")](BATCH, *shape[1:], **options)
            return torch.as_tensor(whole[context.rank :: context.size])

        return draw

    try:
        for name in DRAWS:
            setattr(torch, name, sized(name))
        yield
    finally:
        for name, function in drawn.items():
            setattr(torch, name, function)


def gradients(
    name: str, stage: str, context: DistributedContext, folder: Path
) -> dict[str, Tensor]:
    """The gradients of a stage's first step, by parameter, and the statistics of its norms."""
    recipe, faces = RECIPES[name], faces_of_noise()
    keep_points(faces, folder)
    torch.manual_seed(0)
    objective = build_objective(recipe, card_of(recipe))
    samples = SampleTable.of(faces)
    objective.prepare(samples, faces, folder)
    if context.size > 1:
        share_norms(objective.network)
    batches = AugmentedBatches(faces, card_of(recipe), recipe, samples)
    generator = torch.Generator().manual_seed(1)
    batch = context.share(batches(torch.randperm(BATCH), recipe.input_px, generator))
    # In float64: in float32 a sum in another order may put a ReLU on its other side.
    objective.network.double().train()
    batch = replace(batch, x=batch.x.double(), targets=batch.targets.double())
    objective.start_stage(stage)
    objective.start_epoch(stage, 0)
    torch.manual_seed(2)
    with whole_batch_drawn(context):
        loss = objective.loss(stage, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    parameters = objective.parameters(stage)
    context.average_gradients(parameters)
    ours = {id(value) for value in parameters}
    found = {
        key: value.grad
        for key, value in objective.network.named_parameters()
        if id(value) in ours and value.grad is not None
    }
    buffers = dict(objective.network.named_buffers())
    return found | {key: value for key, value in buffers.items() if "running" in key}


CASES = [(name, stage.name) for name, recipe in RECIPES.items() for stage in recipe.stages]


def work(rank: int, folder: Path) -> None:
    """One worker."""
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet"
    distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)
    for name, stage in CASES:
        found = gradients(name, stage, DistributedContext(rank, 2), folder / str(rank))
        save_file(found, folder / f"{name} {stage} {rank}.safetensors")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_of_32_take_the_step_of_one_of_64(tmp_path: Path) -> None:
    command = [sys.executable, __file__, str(tmp_path)]
    workers = [subprocess.Popen([*command, str(rank)]) for rank in range(2)]
    assert [worker.wait(timeout=240) for worker in workers] == [0, 0]
    for name, stage in CASES:
        wanted = gradients(name, stage, SINGLE_PROCESS, tmp_path / "one")
        for rank in range(2):
            found = load_file(tmp_path / f"{name} {stage} {rank}.safetensors")
            assert found.keys() == wanted.keys()
            for key, value in wanted.items():
                difference = float((found[key] - value).abs().max())
                assert difference <= 1e-5 * max(1.0, float(value.abs().max())), (name, stage, key)


if __name__ == "__main__":
    work(int(sys.argv[2]), Path(sys.argv[1]))
