"""`undercam train`: data, recipe and seed in; calibrated weights with their card out."""

from __future__ import annotations

import ctypes
import subprocess
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.atomic_files import writing
from models.crops import ALIGNED
from models.emotions import EMOTIONS
from models.loading import build_network
from models.precision import bfloat16_is_supported, select_dtype
from models.weights import ModelCard, read_card, restore, save, to_stored
from trainer.data.faceset import FaceSet
from trainer.data.ferplus import select_validation_cut
from trainer.data.label_noise import VOTES, with_labels
from trainer.data.readers import open_faces
from trainer.distributed import SINGLE_PROCESS, DistributedContext
from trainer.errors import DataError
from trainer.loop import LAST, Report, RunOptions, train
from trainer.measurement import add_metrics, apply_conditions, select_trained_for
from trainer.objectives import find_objective
from trainer.objectives.base import Objective
from trainer.pretrained import encoder_digests
from trainer.recipes import Recipe

TERMS = {
    "ferplus": "FER+ votes: MIT. FER2013 images: web search of 2013, no licence, research use.",
    "csv": "FER+ votes: MIT. FER2013 images: web search of 2013, no licence, research use.",
}
"""Terms of the data that a reader knows; those of any other data are unknown here."""
DTYPE_FILE = "dtype"
"""In a run directory, the name of its number format."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
NEVER = 2**31 - 1
"""The largest value that mallopt takes; a tensor beyond it (2 GiB) is still mapped on its own."""


def load_faces(
    data: str, protocol: str, recipe: Recipe, labels: str = VOTES
) -> tuple[FaceSet, FaceSet | None]:
    """The faces at an address, `toy` or one of `trainer.data.readers`, with these `labels`
    (`trainer.data.label_noise`), and those without a majority where the recipe trains on them too.
    Raises DataError as the readers do."""
    faces = toy_faces() if data == "toy" else open_faces(data, protocol, split="train")
    if labels != VOTES:
        # A face without a majority has no true class that its label could be compared with.
        return with_labels(faces, labels), None
    if recipe.with_dropped and faces.protocol == "ms_majority":
        return faces, open_faces(data, "dropped", split="train")
    return faces, None


def load_training_faces(data: str, card: ModelCard, labels: str = VOTES) -> FaceSet:
    """The faces that weights with this card were trained on, in their order, from the data and
    labels of their training."""
    protocol = "no_drop" if " no_drop" in card.data else "ms_majority"
    with_dropped = bool(card.recipe["with_dropped"])
    recipe = Recipe(card.model, card.network, (), with_dropped=with_dropped)
    faces, dropped = load_faces(data, protocol, recipe, labels)
    return select_training_faces(faces, dropped, select_validation_cut(faces))


def train_weights(
    name: str,
    recipe: Recipe,
    faces: FaceSet,
    seed: int,
    out: Path,
    run_dir: Path,
    threads: int = 0,
    report: Report = lambda line: None,
    dropped: FaceSet | None = None,
    context: DistributedContext = SINGLE_PROCESS,
    options: RunOptions = RunOptions(),  # noqa: B008 - frozen
) -> ModelCard:
    """Train, calibrate and measure on the validation cut, and write `out` with its card.

    The cut of `faces` is never trained on; `dropped` are more training faces, without those whose
    pixels are in the cut. The run is resumed from the checkpoint in `run_dir` where there is one.
    In a distributed run all workers train, and the first one writes `out`.
    Raises DataError for too few faces, or a `run_dir` that belongs to another run.
    """
    keep_freed_memory()
    if threads:
        torch.set_num_threads(threads)
    dtype = settle_dtype(run_dir, context)
    report({"dtype": str(dtype).removeprefix("torch."), "threads": torch.get_num_threads()})
    is_cut = select_validation_cut(faces)
    fit = select_training_faces(faces, dropped, is_cut)
    card = make_card(name, recipe, faces, fit, seed, dtype)
    validation = faces[is_cut] if is_cut.any() else None
    split = validation
    if recipe.crop == ALIGNED:
        fit = _align(fit, run_dir, context)
        split = None if validation is None else _align(validation, run_dir, context)
    annotator = find_objective(recipe.model, recipe.objective).annotator(recipe)
    if annotator and context.is_first:
        import_module(annotator).annotate(fit, run_dir)
    trained = train(recipe, card, fit, split, seed, run_dir, dtype, report, context, options)
    if not context.is_first:
        return card
    if options.select != LAST:
        selected = {"selected": options.select, "selected_epoch": trained.epoch}
        card = replace(card, recipe=card.recipe | selected)
    network = build_network(card)
    # Calibrated and measured as float16, the way the file stores them and serving reads them.
    restore(network, to_stored(trained.state), out)
    if validation is not None:
        card = _calibrate(trained.objective, network, card, validation)
    save(out, card, network.state_dict())
    return read_card(out)


def settle_dtype(run_dir: Path, context: DistributedContext) -> torch.dtype:
    """The number format of a run: what is faster here when it starts, and from then on the same.

    All workers compute in it, and so does a resumed run: which format a busy machine finds faster
    is a matter of chance, and the run would be another one. Raises DataError where a run in
    bfloat16 is resumed on a machine without it.
    """
    note = run_dir / DTYPE_FILE
    is_new = not note.is_file()
    if context.is_first and is_new:
        is_cpu = context.device == "cpu"
        chosen = select_dtype(torch.get_num_threads()) if is_cpu else torch.bfloat16
        with writing(note) as unfinished:
            unfinished.write_text(str(chosen).removeprefix("torch."), encoding="ascii")
    context.share_files()
    name = note.read_text(encoding="ascii")
    if name not in DTYPES:
        raise DataError(f"number format {name!r}", str(note), f"give {' or '.join(DTYPES)}")
    dtype = DTYPES[name]
    is_unsure = context.device == "cpu" and dtype == torch.bfloat16 and not is_new
    if is_unsure and not bfloat16_is_supported():
        remedy = "resume it on a machine that has it, or train in another run directory"
        raise DataError("a run in bfloat16, which this machine lacks", str(run_dir), remedy)
    return dtype


def select_training_faces(
    faces: FaceSet, dropped: FaceSet | None, is_cut: NDArray[np.bool_]
) -> FaceSet:
    """The faces outside the validation cut, with `dropped` but for those whose pixels are in it."""
    fit = faces[~is_cut]
    if dropped is None:
        return fit
    return fit.concatenate(dropped[~np.isin(dropped.hashes(), faces[is_cut].hashes())])


def _align(faces: FaceSet, run_dir: Path, context: DistributedContext) -> FaceSet:
    """The faces aligned by their points, which the first worker finds and all of them read."""
    if context.is_first:
        import_module("trainer.objectives.landmarks").annotate(faces, run_dir)
    context.share_files()
    aligned: FaceSet = import_module("trainer.alignment").align_annotated(faces, run_dir)
    return aligned


def make_card(
    name: str, recipe: Recipe, faces: FaceSet, fit: FaceSet, seed: int, dtype: torch.dtype
) -> ModelCard:
    """The card of weights that are to be trained on `fit`, a part of `faces`."""
    of_type = str(dtype).removeprefix("torch.")
    return ModelCard(
        name=name,
        model=recipe.model,
        network=recipe.network,
        labels=faces.classes,
        input_px=recipe.input_px,
        channels=recipe.channels,
        mean=(recipe.mean,) * recipe.channels,
        std=(recipe.std,) * recipe.channels,
        crop=recipe.crop,
        data=f"{faces.name} {faces.protocol}, {len(fit)} faces, "
        f"{select_validation_cut(faces).sum()} in validation cut",
        data_terms=TERMS.get(faces.name.split(":")[0], "not stated"),
        recipe=asdict(recipe) | {"seed": seed, "dtype": of_type},
        git=_git_hash(),
        encoders=encoder_digests(recipe),
    )


def _calibrate(
    objective: Objective, network: torch.nn.Module, card: ModelCard, validation: FaceSet
) -> ModelCard:
    """The card, calibrated and measured on the validation cut under what it was trained for."""
    conditions = apply_conditions(card, validation)
    card = objective.calibrate(network, card, select_trained_for(conditions))
    return add_metrics(network, card, conditions)


def keep_freed_memory() -> bool:
    """Tell glibc to keep memory that a step freed in this process: the next step needs as much.

    Returns False where the C library has no such setting. By default every tensor above 32 MiB is
    mapped and unmapped, and each of its pages faulted in again. Measured on the baseline at 48 px,
    batch 128, one thread, an epoch with its validation: 37,000 page faults a step became 1,000, and
    a step took 10 % less processor time, at the same peak of memory.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_TRIM_THRESHOLD, NEVER) and mallopt(M_MMAP_THRESHOLD, NEVER))


def toy_faces(n: int = 640, seed: int = 0) -> FaceSet:
    """Synthetic images that a network learns in seconds: bright or dark, above or below, one disc
    in the middle or two at the sides. As with faces, a horizontal flip keeps the class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 8, n)
    bright, above, two = (labels[:, None, None] >> bit & 1 for bit in range(3))
    rows, columns = np.mgrid[:48, :48] - 23.5
    square = (rows + np.where(above, 11, -11)) ** 2 + (abs(columns) - 13 * two) ** 2
    tiles = 128 + np.where(bright, 80, -80) * (square < 49) + rng.normal(0, 12, (n, 48, 48))
    return FaceSet.of_labels("toy", EMOTIONS, np.clip(tiles, 0, 255).astype(np.uint8), labels)


def _git_hash() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
