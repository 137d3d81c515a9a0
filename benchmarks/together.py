"""What several weights say together, from kept predictions: python -m benchmarks.together A,B ...

Each argument is a list of weights, comma between; of each the accuracy is printed on clean faces
and behind displays (mean of ten), of the mean of what its weights say, mirror image averaged. It is
what a student of these teachers could hope for.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.kept import keep

if TYPE_CHECKING:
    from trainer.compare.tables import Evaluated


def accuracy(every: list[Evaluated], cell: str) -> float:
    """Share of faces that the mean of all their probabilities names right."""
    from trainer.compare.evaluate import Predictions, correctness

    said = [one.said[cell] for one in every]
    mean = np.mean([each.probabilities for each in said], axis=0)
    return float(correctness(Predictions(mean, said[0].found), every[0].faces).mean())


def main() -> None:
    """Measure, print, and write it as JSON beside the other results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", nargs="+")
    parser.add_argument("--folder", type=Path, default=Path("docs/predictions"))
    given = parser.parse_args()
    from models.udc.suites import CLEAN, conditions
    from trainer.compare.tables import kept_in

    cells = conditions("udc")
    kept = {
        one.about["weights"]: one
        for one in kept_in(given.folder)
        if _is_asked(one, {CLEAN, *cells})
    }
    figures: dict[str, dict[str, float]] = {}
    for names in given.weights:
        missing = sorted(set(names.split(",")) - kept.keys())
        if missing:
            raise SystemExit(f"together: {missing[0]}: nothing kept of it under every condition")
        every = [kept[name] for name in names.split(",")]
        behind = float(np.mean([accuracy(every, cell) for cell in cells]))
        figures[names] = {CLEAN: round(accuracy(every, CLEAN), 5), "udc": round(behind, 5)}
        print(f"{names}: clean {figures[names][CLEAN]:.2%}, udc {behind:.2%}", flush=True)
    keep("together", {"figures": figures})


def _is_asked(one: Evaluated, cells: set[str]) -> bool:
    asked = one.about["averaging"] == "flip" and one.about["way"] == "tiles"
    return asked and set(one.said) >= cells


if __name__ == "__main__":
    main()
