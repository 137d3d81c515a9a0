"""Accuracy of ensembles, from saved predictions: python -m benchmarks.ensemble A,B ...

Each argument is a list of weights, separated by commas; the accuracy of their mean probabilities is
printed on clean faces and under displays (mean of ten cells), with horizontal-flip TTA. It is what
a student distilled from these teachers could reach.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.results import save_result

if TYPE_CHECKING:
    from trainer.compare.tables import Evaluation


def accuracy(members: list[Evaluation], cell: str) -> float:
    """Accuracy of the mean of the members' probabilities under one condition."""
    from trainer.compare.evaluate import Predictions, mark_correct

    predictions = [one.predictions[cell] for one in members]
    mean = np.mean([each.probabilities for each in predictions], axis=0)
    ensemble = Predictions(mean, predictions[0].found)
    return float(mark_correct(ensemble, members[0].faces).mean())


def main() -> None:
    """Measure, print, and save the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", nargs="+")
    parser.add_argument("--folder", type=Path, default=Path("docs/predictions"))
    given = parser.parse_args()
    from models.udc.suites import CLEAN, conditions
    from trainer.compare.tables import load_evaluations

    cells = conditions("udc")
    evaluations = {
        one.about["weights"]: one
        for one in load_evaluations(given.folder)
        if _is_usable(one, {CLEAN, *cells})
    }
    figures: dict[str, dict[str, float]] = {}
    for names in given.weights:
        missing = sorted(set(names.split(",")) - evaluations.keys())
        if missing:
            raise SystemExit(f"ensemble: {missing[0]}: no saved predictions for all conditions")
        members = [evaluations[name] for name in names.split(",")]
        udc = float(np.mean([accuracy(members, cell) for cell in cells]))
        figures[names] = {CLEAN: round(accuracy(members, CLEAN), 5), "udc": round(udc, 5)}
        print(f"{names}: clean {figures[names][CLEAN]:.2%}, udc {udc:.2%}", flush=True)
    save_result("ensemble", {"figures": figures})


def _is_usable(one: Evaluation, cells: set[str]) -> bool:
    is_tiles_with_tta = one.about["averaging"] == "flip" and one.about["way"] == "tiles"
    return is_tiles_with_tta and set(one.predictions) >= cells


if __name__ == "__main__":
    main()
