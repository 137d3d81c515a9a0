"""What a perfect prior Z is worth: python -m benchmarks.prior_headroom [--faces N] [--epochs N]

Trains stage 1 of LRDif on N of the faces, with Z from each face's clean twin or, by a preset
`panel`, from its display; and classifies the validation cut under displays with the true Z, with
that of another face or of no display, and without Z. Where the true Z gains little over none, there
is nothing for stage 2 to restore. No TTA.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.results import save_result

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from models.weights import ModelCard
    from trainer.data.faceset import FaceSet
    from trainer.objectives.lrdif.known_prior import KnownPriorObjective
    from trainer.recipes import Recipe

LEAST_GAIN = 0.03
"""With less than this over the harder conditions, stage 2 has nothing to restore."""
CHUNK = 256
WRONG_CELL = "udc_p/3"
"""The display that a clean face does not have."""
CONDITIONS = "udc_t/3,udc_t/4,udc_t/5,udc_p/3,udc_p/4,udc_p/5"


def select_faces(faces: FaceSet, n: int, seed: int) -> FaceSet:
    """N of the faces, sampled by the seed; all of them where N is 0."""
    if not n or n >= len(faces):
        return faces
    chosen = np.zeros(len(faces), bool)
    chosen[np.random.default_rng(seed).permutation(len(faces))[:n]] = True
    return faces[chosen]


def make_recipe(preset: str, epochs: int, batch: int) -> Recipe:
    """The preset with stage 1 alone, of this many epochs in batches of that size."""
    from trainer.presets import find_preset

    recipe = find_preset("lrdif", preset)
    return replace(recipe, stages=(replace(recipe.stages[0], epochs=epochs, batch=batch),))


def compute_priors(
    objective: KnownPriorObjective, clean: Tensor, cell: str
) -> tuple[Tensor, Tensor]:
    """The true Z (n, C) of faces (n, c, px, px) without their display, under that of a cell; and a
    wrong one: another face's, or that of no display (of clean faces, a display's)."""
    import torch

    from models.udc.description import describe_panels
    from models.udc.suites import CLEAN, find_panel
    from trainer.objectives.lrdif.lrdif_panel import LRDifPanelObjective
    from trainer.objectives.lrdif.lrdif_twin import LRDifTwinObjective

    if isinstance(objective, LRDifPanelObjective):
        panels = [None, find_panel(WRONG_CELL)] if cell == CLEAN else [find_panel(cell), None]
        described = objective.mask(torch.from_numpy(describe_panels(panels)))
        z = objective.true_prior(described).unsqueeze(1).expand(-1, len(clean), -1)
        return z[0], z[1]
    assert isinstance(objective, LRDifTwinObjective)
    chunks = (clean[start : start + CHUNK] for start in range(0, len(clean), CHUNK))
    z = torch.cat([objective.true_prior(objective.twin_features(chunk)) for chunk in chunks])
    return z, z.roll(1, dims=0)


def predict_variants(
    objective: KnownPriorObjective, x: Tensor, z: Tensor, wrong: Tensor
) -> dict[str, NDArray[np.int64]]:
    """The predicted classes (n,) of degraded faces (n, c, px, px) with their true Z (n, C), with a
    wrong one, and without."""
    import torch

    from models.lrdif.trunk import weigh

    former, full = objective.with_twin.former, torch.ones(())
    found: dict[str, list[Tensor]] = {"true Z": [], "wrong Z": [], "no Z": []}
    for start in range(0, len(x), CHUNK):
        part = slice(start, start + CHUNK)
        maps = former.encode(x[part].contiguous(memory_format=torch.channels_last))
        for name, weighed in (
            ("true Z", weigh(z[part], full)),
            ("wrong Z", weigh(wrong[part], full)),
            ("no Z", None),
        ):
            found[name].append(former.classify(maps, weighed).argmax(dim=1))
    return {name: torch.cat(parts).numpy() for name, parts in found.items()}


def measure(
    objective: KnownPriorObjective, card: ModelCard, faces: FaceSet, cells: tuple[str, ...]
) -> dict[str, Any]:
    """Accuracy of each variant under each condition, and what the true Z gains over none, in 0..1:
    (gain, low, high), over all conditions, paired bootstrap over faces."""
    import torch

    from trainer.compare.evaluate import apply_condition
    from trainer.compare.metrics import paired_difference
    from trainer.inputs import build_inputs

    objective.network.eval()
    clean = build_inputs(faces, card)
    right: dict[str, list[NDArray[np.bool_]]] = {}
    accuracy: dict[str, dict[str, float]] = {}
    for cell in cells:
        x = build_inputs(apply_condition(faces, cell), card)
        with torch.inference_mode():
            z, wrong = compute_priors(objective, clean, cell)
            predicted = predict_variants(objective, x, z, wrong)
        for name, classes in predicted.items():
            correct = classes == faces.labels
            right.setdefault(name, []).append(correct)
            accuracy.setdefault(cell, {})[name] = round(float(correct.mean()), 5)
    means = {name: np.mean(each, axis=0) for name, each in right.items()}
    gains = {
        name: [round(share, 5) for share in asdict(paired_difference(of, means["no Z"])).values()]
        for name, of in means.items()
        if name != "no Z"
    }
    mean = {name: round(float(of.mean()), 5) for name, of in means.items()}
    return {"accuracy": accuracy, "mean": mean, "gain over no Z": gains}


def train_stage_one(
    recipe: Recipe, faces: FaceSet, dropped: FaceSet | None, given: argparse.Namespace
) -> tuple[KnownPriorObjective, ModelCard, FaceSet]:
    """Stage 1 trained on a part of the faces: its objective, card, and the validation cut."""
    import torch

    from models.precision import select_dtype
    from trainer.data.ferplus import select_validation_cut
    from trainer.loop import train
    from trainer.run import keep_freed_memory, make_card, select_training_faces

    keep_freed_memory()
    torch.set_num_threads(given.threads)
    is_cut = select_validation_cut(faces)
    fit = select_faces(select_training_faces(faces, dropped, is_cut), given.faces, given.seed)
    dtype = select_dtype(given.threads)
    card = make_card("lrdif-headroom", recipe, faces, fit, given.seed, dtype)
    begun = time.monotonic()

    def report(line: dict[str, Any]) -> None:
        print(json.dumps(line | {"minutes": round((time.monotonic() - begun) / 60, 2)}), flush=True)

    result = train(recipe, card, fit, None, given.seed, given.run_dir, dtype, report)
    objective: Any = result.objective
    return objective, card, faces[is_cut]


def main() -> None:
    """Train, measure, print the result, and save it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="twin-udc")
    parser.add_argument("--data", default="ferplus:training")
    parser.add_argument("--faces", type=int, default=4000, help="of Training; 0: all")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--limit", type=int, default=0, help="only the cut's first N; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--run-dir", type=Path, default=Path("runs/prior-headroom"))
    parser.add_argument("--conditions", default=CONDITIONS)
    given = parser.parse_args()
    from models.udc.suites import conditions
    from trainer.run import load_faces

    recipe = make_recipe(given.preset, given.epochs, given.batch)
    faces, dropped = load_faces(given.data, "ms_majority", recipe)
    objective, card, cut = train_stage_one(recipe, faces, dropped, given)
    cut = cut[: given.limit or None]
    figures = {
        "preset": given.preset,
        "seed": given.seed,
        "epochs": given.epochs,
        "batch": given.batch,
        "trained on": card.data,
        "git": card.git,
        "n": len(cut),
        **measure(objective, card, cut, conditions(given.conditions)),
    }
    gain = figures["gain over no Z"]["true Z"][0]
    figures["headroom"] = bool(gain >= LEAST_GAIN)
    print(json.dumps(save_result(f"prior-headroom-{given.preset}", figures)), flush=True)


if __name__ == "__main__":
    main()
