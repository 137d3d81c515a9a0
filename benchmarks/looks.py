"""What several looks at one face buy: python -m benchmarks.looks --weights W [--limit N]

The same aligned face behind a display, 1, 2, 4 and 8 times with independent noise. `fused`: each
look is classified and the probabilities are averaged; `averaged`: the pictures are averaged in
linear light and classified once. Accuracy under the majority rule.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.kept import keep
from pipeline.emotion_settings import WEIGHTS

if TYPE_CHECKING:
    from models.classifier import EmotionClassifier
    from trainer.data.faceset import FaceSet

LOOKS = (1, 2, 4, 8)


def seen(faces: FaceSet, cell: str, look: int) -> NDArray[np.uint8]:
    """The tiles behind the display of a cell, at look number `look`; the first is the suite's."""
    from models.udc.suites import degrade

    name = faces.name if look == 0 else f"{faces.name} look {look}"
    return degrade(faces.tiles, faces.ids, name, cell)


def measured(classifier: EmotionClassifier, faces: FaceSet, cell: str) -> dict[str, list[float]]:
    """{"fused", "averaged"}: accuracy after each number of looks in LOOKS."""
    from models.light import to_light, to_srgb
    from trainer.compare.evaluate import Predictions, correctness, predict

    fused = np.zeros((len(faces), len(faces.classes)), np.float64)
    light = np.zeros((*faces.tiles.shape[:3], 3), np.float64)
    found: dict[str, list[float]] = {"fused": [], "averaged": []}
    for look in range(max(LOOKS)):
        tiles = seen(faces, cell, look)
        fused += predict(classifier, replace(faces, tiles=tiles)).probabilities
        light += to_light(tiles if tiles.ndim == 4 else tiles[..., None].repeat(3, axis=3))
        if look + 1 in LOOKS:
            mean = to_srgb((light / (look + 1)).astype(np.float32))
            once = predict(classifier, replace(faces, tiles=mean))
            both = Predictions((fused / (look + 1)).astype(np.float32), once.found)
            found["fused"].append(round(float(correctness(both, faces).mean()), 5))
            found["averaged"].append(round(float(correctness(once, faces).mean()), 5))
    return found


def main() -> None:
    """Measure, print a table, and write it as JSON beside the other results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default=WEIGHTS[0])
    parser.add_argument("--data", default="ferplus:public")
    parser.add_argument("--conditions", default="udc_t,udc_p")
    parser.add_argument("--limit", type=int, default=0, help="only the first N faces; 0: all")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    given = parser.parse_args()
    from models.loading import load_classifier
    from models.udc.suites import conditions
    from trainer.data.readers import open_faces

    faces = open_faces(given.data)[: given.limit or None]
    classifier = load_classifier(given.weights)
    cells = {cell: measured(classifier, faces, cell) for cell in conditions(given.conditions)}
    figures = {
        "weights": given.weights,
        "data": faces.name,
        "n": len(faces),
        "averaging": "flip",
        "looks": LOOKS,
        "accuracy": cells,
    }
    result = keep(f"looks-{Path(given.weights).stem}", figures)
    if given.json:
        print(json.dumps(result))
        return
    print(f"{given.weights}, {len(faces)} faces" + "".join(f"{n:>10}" for n in LOOKS))
    for cell, ways in cells.items():
        for way, row in ways.items():
            print(f"{cell:10}{way:12}" + "".join(f"{share:>10.2%}" for share in row))


if __name__ == "__main__":
    main()
