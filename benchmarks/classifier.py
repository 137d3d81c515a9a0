"""Faces a second, side by side in one process: python -m benchmarks.classifier [--device cuda]

LRDif with 4 steps and with 1, the equal-compute ResNet-18 and the largest that ships, each asked
as it serves (without the mirror image), at batches of 1, 8 and 32 and on 1 and 2 threads. Models
take turns, so that a slow moment hits all of them; the median of the rounds counts. Speed does not
hang on what weights hold: networks are as drawn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.kept import keep
from models.classifier import EmotionClassifier
from models.crops import CROP_PX, GEOMETRY
from models.emotions import EMOTIONS
from models.loading import as_classifier, build_network
from models.weights import ModelCard

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "LRDif, T = 4": ("lrdif", {"steps": 4}),
    "LRDif, T = 1": ("lrdif", {"steps": 1}),
    "ResNet-18 w32, stem 2": ("resnet18", {"width": 32, "stem_stride": 2}),
    "ResNet-18 w48, stem 1": ("resnet18", {"width": 48, "stem_stride": 1}),
}
BATCHES, THREADS = (1, 8, 32), (1, 2)


def opened(model: str, network: dict[str, Any], device: str) -> EmotionClassifier:
    """A classifier of untrained weights, without the mirror image."""
    card = ModelCard(*(model, model, network, EMOTIONS, 48, 1, 0.5, 0.25, GEOMETRY, "none", "none"))
    return as_classifier(build_network(card), card, flip=False, device=device)


def gmacs(model: str, network: dict[str, Any]) -> float:
    """Multiply-adds of one face, in billions."""
    classifier = opened(model, network, "cpu")
    with FlopCounterMode(display=False) as counter:
        classifier.predict(np.zeros((1, CROP_PX, CROP_PX, 3), np.uint8), np.zeros(1, np.int64))
    return counter.get_total_flops() / 2e9


def faces_a_second(
    classifiers: dict[str, EmotionClassifier], batch: int, rounds: int
) -> dict[str, float]:
    """The median over rounds in which every classifier is asked once in turn."""
    crops = np.random.default_rng(0).integers(0, 256, (batch, CROP_PX, CROP_PX, 3), np.uint8)
    ids = np.arange(batch)
    seconds: dict[str, list[float]] = {name: [] for name in classifiers}
    for number in range(rounds + 3):
        for name, classifier in classifiers.items():
            start = time.perf_counter()
            classifier.predict(crops, ids)
            if number >= 3:  # the first are warm-up
                seconds[name].append(time.perf_counter() - start)
    return {name: round(batch / statistics.median(taken), 1) for name, taken in seconds.items()}


def main() -> None:
    """Measure, print a table, and write it as JSON beside the other results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    given = parser.parse_args()
    classifiers = {name: opened(*what, given.device) for name, what in NETWORKS.items()}
    speeds: dict[str, dict[str, float]] = {}
    for threads in THREADS if given.device == "cpu" else (1,):
        torch.set_num_threads(threads)
        for batch in BATCHES:
            cell = f"{threads} thread{'s' * (threads > 1)}, batch {batch}"
            speeds[cell] = faces_a_second(classifiers, batch, given.rounds)
    figures = {
        "torch": torch.__version__,
        "device": given.device,
        "gmac": {name: round(gmacs(*what), 4) for name, what in NETWORKS.items()},
        "faces_a_second": speeds,
    }
    result = keep("classifier", figures)
    if given.json:
        print(json.dumps(result))
        return
    print(f"{'faces a second':24}" + "".join(f"{name:>24}" for name in NETWORKS))
    print(f"{'GMAC a face':24}" + "".join(f"{cost:>24}" for cost in result["gmac"].values()))
    for cell, row in speeds.items():
        print(f"{cell:24}" + "".join(f"{row[name]:>24}" for name in NETWORKS))


if __name__ == "__main__":
    main()
