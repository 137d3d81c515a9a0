"""Accuracy of multi-frame averaging: python -m benchmarks.multi_frame --weights W [--limit N]

The same aligned face under a display in 1, 2, 4 and 8 frames with independent noise. `fused`: each
frame is classified and the probabilities are averaged; `averaged`: the frames are averaged in
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

from benchmarks.results import save_result
from pipeline.emotion_settings import RouteSettings

if TYPE_CHECKING:
    from models.scores import EmotionClassifier
    from trainer.data.faceset import FaceSet

FRAMES = (1, 2, 4, 8)


def simulate_frame(faces: FaceSet, cell: str, number: int) -> NDArray[np.uint8]:
    """The tiles under the display of a cell, with the noise of frame `number`; frame 0 has the
    noise of the evaluation suite."""
    from models.udc.suites import degrade

    # The name seeds the noise. It is that of the published results: do not change it.
    name = faces.name if number == 0 else f"{faces.name} look {number}"
    return degrade(faces.tiles, faces.ids, name, cell)


def measure(classifier: EmotionClassifier, faces: FaceSet, cell: str) -> dict[str, list[float]]:
    """{"fused", "averaged"}: accuracy after each number of frames in FRAMES."""
    from models.light import to_linear_light, to_srgb
    from trainer.compare.evaluate import Predictions, mark_correct, predict

    fused = np.zeros((len(faces), len(faces.classes)), np.float64)
    light = np.zeros((*faces.tiles.shape[:3], 3), np.float64)
    accuracy: dict[str, list[float]] = {"fused": [], "averaged": []}
    for number in range(max(FRAMES)):
        tiles = simulate_frame(faces, cell, number)
        fused += predict(classifier, replace(faces, tiles=tiles)).probabilities
        light += to_linear_light(tiles if tiles.ndim == 4 else tiles[..., None].repeat(3, axis=3))
        if number + 1 in FRAMES:
            mean = to_srgb((light / (number + 1)).astype(np.float32))
            once = predict(classifier, replace(faces, tiles=mean))
            each = Predictions((fused / (number + 1)).astype(np.float32), once.found)
            accuracy["fused"].append(round(float(mark_correct(each, faces).mean()), 5))
            accuracy["averaged"].append(round(float(mark_correct(once, faces).mean()), 5))
    return accuracy


def main() -> None:
    """Measure, print a table, and save the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default=RouteSettings().degraded)
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
    cells = {cell: measure(classifier, faces, cell) for cell in conditions(given.conditions)}
    figures = {
        "weights": given.weights,
        "data": faces.name,
        "n": len(faces),
        "averaging": "flip",
        "frames": FRAMES,
        "accuracy": cells,
    }
    result = save_result(f"multi-frame-{Path(given.weights).stem}", figures)
    if given.json:
        print(json.dumps(result))
        return
    headings = "".join(f"{count:>10}" for count in FRAMES)
    print(f"{given.weights}, {len(faces)} faces; frames{headings}")
    for cell, methods in cells.items():
        for method, row in methods.items():
            print(f"{cell:10}{method:12}" + "".join(f"{share:>10.2%}" for share in row))


if __name__ == "__main__":
    main()
