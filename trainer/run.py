"""`undercam train`: data, recipe and seed in; calibrated weights with their card out."""

from __future__ import annotations

import subprocess
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from models.card import class_figures
from models.crops import GEOMETRY
from models.emotions import EMOTIONS
from models.loading import as_classifier, build_network
from models.precision import select_dtype
from models.udc.suites import CLEAN
from models.udc.suites import conditions as conditions_of
from models.weights import ModelCard, read_card, restore, save, to_stored
from trainer.compare.evaluate import condition_table, predict, under
from trainer.compare.report import mean_table
from trainer.data.faceset import FaceSet
from trainer.data.ferplus import validation_cut
from trainer.data.readers import open_faces
from trainer.distributed import ALONE, DistributedContext
from trainer.loop import Report, train
from trainer.memory import keep_freed_memory
from trainer.objectives import objective_class
from trainer.objectives.base import Objective
from trainer.pretrained import encoder_digests
from trainer.recipes import Recipe

TERMS = {
    "ferplus": "FER+ votes: MIT. FER2013 pictures: web search of 2013, no licence, research use.",
    "csv": "FER+ votes: MIT. FER2013 pictures: web search of 2013, no licence, research use.",
}
"""Terms of the data that a reader knows; of any other they are not known here."""


def load_faces(data: str, protocol: str, recipe: Recipe) -> tuple[FaceSet, FaceSet | None]:
    """The faces at an address, `toy` or one of `trainer.data.readers`, and those without a majority
    where the recipe learns from them too. Raises DataError as the readers do."""
    faces = toy_faces() if data == "toy" else open_faces(data, protocol, split="train")
    if recipe.with_dropped and faces.protocol == "ms_majority":
        return faces, open_faces(data, "dropped", split="train")
    return faces, None


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
    team: DistributedContext = ALONE,
) -> ModelCard:
    """Train, calibrate on the validation cut, measure it there, and write `out` with its card.

    The cut of `faces` is never trained on; `dropped` are more to learn from, without those whose
    pixels are in the cut. A run goes on from the checkpoint in `run_dir` where there is one. Of a
    `team` all workers train, and the first writes `out`.
    Raises DataError for too few faces, or a `run_dir` that belongs to another run.
    """
    keep_freed_memory()
    if threads:
        torch.set_num_threads(threads)
    dtype = select_dtype(torch.get_num_threads()) if team.device == "cpu" else torch.bfloat16
    report({"dtype": str(dtype).removeprefix("torch."), "threads": torch.get_num_threads()})
    held = validation_cut(faces)
    fit = faces[~held]
    if dropped is not None:
        fit = fit.joined(dropped[~np.isin(dropped.hashes(), faces[held].hashes())])
    card = ModelCard(
        name=name,
        model=recipe.model,
        network=recipe.network,
        labels=faces.classes,
        input_px=recipe.input_px,
        channels=recipe.channels,
        mean=(recipe.mean,) * recipe.channels,
        std=(recipe.std,) * recipe.channels,
        crop=GEOMETRY,
        data=f"{faces.name} {faces.protocol}, {len(fit)} faces, {held.sum()} held out",
        data_terms=TERMS.get(faces.name.split(":")[0], "not stated"),
        recipe=asdict(recipe) | {"seed": seed, "dtype": str(dtype).removeprefix("torch.")},
        git=_git_hash(),
        encoders=encoder_digests(recipe),
    )
    annotator = objective_class(recipe.model, recipe.objective).annotator(recipe)
    if annotator and team.is_first:
        import_module(annotator).annotate(fit, run_dir)
    validation = faces[held] if held.any() else None
    trained = train(recipe, card, fit, validation, seed, run_dir, dtype, report, team)
    if not team.is_first:
        return card
    network = build_network(card)
    restore(network, to_stored(trained.state), out)
    if validation is not None:
        card = _calibrated(trained.objective, network, card, validation)
    save(out, card, network.state_dict())
    return read_card(out)


def _calibrated(
    objective: Objective, network: torch.nn.Module, card: ModelCard, validation: FaceSet
) -> ModelCard:
    """Under what it learned for: displays of every severity, or clean faces."""
    conditions = {CLEAN: validation}
    if card.recipe["panel"]:
        conditions |= {cell: under(validation, cell) for cell in conditions_of("udc")}
    learned = {cell: faces for cell, faces in conditions.items() if cell != CLEAN} or conditions
    card = objective.calibrate(network, card, learned)
    classifier = as_classifier(network, card)
    tables = {
        cell: condition_table(predict(classifier, faces), faces)
        for cell, faces in conditions.items()
    }
    clean = tables.pop(CLEAN)
    per_class, macro_f1 = class_figures(card.labels, clean["confusion"])
    metrics = {"validation cut, flip-averaged": clean}
    if tables:
        behind = mean_table(list(tables.values()))
        metrics["validation cut behind displays, flip-averaged"] = behind
    return replace(card, metrics=metrics, per_class=per_class, macro_f1=macro_f1)


def toy_faces(n: int = 640, seed: int = 0) -> FaceSet:
    """Made pictures that a network learns in seconds: bright or dark, above or below, one disc in
    the middle or two at the sides. Like faces, they keep their class in a mirror."""
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
