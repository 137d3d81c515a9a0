"""Noise levels by quality: python -m benchmarks.quality_levels --weights W [--out W2] [--limit N]

Fits a table of noise levels (`models.emodc.levels`) on the validation cut for an EmoDC that was
trained without one, and compares it with even levels, as many of them, on other faces: accuracy
under each condition, and the difference over all with its interval. With --out the weights are
written with their table and a temperature of their own.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.results import save_result

if TYPE_CHECKING:
    from models.emodc.network import EmoDC
    from models.weights import ModelCard
    from trainer.data.faceset import FaceSet

CONDITIONS = (
    "clean,gauss_noise_x1/3,gauss_noise_x1/5,gauss_noise_x2/5,gauss_blur_x2/3,gauss_blur_x2/5"
)


def open_with_table(weights: str) -> tuple[EmoDC, ModelCard]:
    """An EmoDC with a place for the table, and its card; ends the command for other weights."""
    from models.emodc.network import EmoDC
    from models.loading import build_network, load_network

    found, card = load_network(weights)
    if not isinstance(found, EmoDC):
        raise SystemExit(f"quality_levels: {weights}: a {card.model}, give an emodc")
    card = replace(card, network=card.network | {"levels": "quality"})
    network = build_network(card)
    assert isinstance(network, EmoDC)
    network.load_state_dict(found.state_dict(), strict=False)
    return network.eval(), card


def fit_table(network: EmoDC, card: ModelCard, cut: FaceSet) -> ModelCard:
    """Fit the table, and all else of calibration, on the cut under what the weights were trained
    for; returns the card with its temperature."""
    from models.udc.suites import CLEAN, conditions
    from trainer.calibration import calibrate_temperature
    from trainer.compare.evaluate import apply_condition
    from trainer.objectives.emodc.weights import calibrate_levels

    cells = conditions("udc") if card.recipe.get("panel") else (CLEAN,)
    faces = {cell: apply_condition(cut, cell) for cell in cells}
    calibrate_levels(network, card, faces, bool(network.log_prior.any()))
    return calibrate_temperature(network, card, faces)


def compare_levels(
    network: EmoDC, card: ModelCard, faces: FaceSet, cells: tuple[str, ...]
) -> dict[str, Any]:
    """Accuracy at even levels and at the table's, by condition, and over all by how much the table
    is better: the face is the unit."""
    from models.emodc.classifier import EmoDCClassifier
    from trainer.compare.evaluate import apply_condition, mark_correct, predict
    from trainer.compare.metrics import paired_difference

    right: dict[str, list[Any]] = {"even": [], "quality": []}
    for cell in cells:
        degraded = apply_condition(faces, cell)
        for levels, each in right.items():
            classifier = EmoDCClassifier(network, card)
            classifier.by_quality = levels == "quality"
            each.append(mark_correct(predict(classifier, degraded), faces))
    means = {levels: np.mean(each, axis=0) for levels, each in right.items()}
    gain = paired_difference(means["quality"], means["even"])
    return {
        "accuracy": {
            cell: {levels: round(float(each[row].mean()), 5) for levels, each in right.items()}
            for row, cell in enumerate(cells)
        },
        "mean": {levels: round(float(mean.mean()), 5) for levels, mean in means.items()},
        "delta": round(gain.delta, 5),
        "interval": [round(gain.low, 5), round(gain.high, 5)],
    }


def main() -> None:
    """Fit, measure, print, and save the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True, help="of an EmoDC, trained without a table")
    parser.add_argument("--out", type=Path, help="write the weights with their table")
    parser.add_argument("--cut", default="ferplus:cut", help="faces to fit on")
    parser.add_argument("--data", default="ferplus:public", help="faces to measure on")
    parser.add_argument("--conditions", default=CONDITIONS)
    parser.add_argument("--limit", type=int, default=0, help="only the first N faces; 0: all")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    import torch

    from models.udc.suites import conditions
    from models.weights import save
    from trainer.data.readers import open_faces

    torch.set_num_threads(given.threads)
    network, card = open_with_table(given.weights)
    card = fit_table(network, card, open_faces(given.cut))
    if given.out:
        save(given.out, card, network.state_dict())
    faces = open_faces(given.data)[: given.limit or None]
    assert network.quality is not None
    figures = {
        "weights": card.name,
        "data": faces.name,
        "n": len(faces),
        "steps": network.steps,
        "levels": [[round(level, 4) for level in row] for row in network.quality.levels.tolist()],
        **compare_levels(network, card, faces, conditions(given.conditions)),
    }
    print(json.dumps(save_result("quality-levels", figures)), flush=True)


if __name__ == "__main__":
    main()
