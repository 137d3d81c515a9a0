"""Classifier throughput in faces per second: python -m benchmarks.classifier [--device cuda]

LRDif with 4 steps and with 1, the ResNet-18 with equal compute and the largest one that ships, with
no TTA, at batches of 1, 8 and 32 and on 1 and 2 threads. Models take turns, so that a slow moment
affects all of them; the result is the median of the rounds. Speed does not depend on the values of
the weights, which are random. With --dtype bfloat16 everything is computed in that format, and the
shipped weights also classify faces of the validation cut in both formats, to measure how often they
agree.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.results import save_result
from models.emotions import EMOTIONS

if TYPE_CHECKING:
    import torch

    from models.scores import EmotionClassifier

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "LRDif, T = 4": ("lrdif", {"steps": 4}),
    "LRDif, T = 1": ("lrdif", {"steps": 1}),
    "ResNet-18 w32, stem 2": ("resnet18", {"width": 32, "stem_stride": 2}),
    "ResNet-18 w36, stem 2": ("resnet18", {"width": 36, "stem_stride": 2}),
    "ResNet-18 w48, stem 1": ("resnet18", {"width": 48, "stem_stride": 1}),
}
BATCHES, THREADS = (1, 8, 32), (1, 2)
FACES = 800
"""Faces of the validation cut that are classified in both formats."""


def build_classifier(
    model: str, network: dict[str, Any], device: str, dtype: torch.dtype | None = None
) -> EmotionClassifier:
    """A classifier with random weights and no TTA; `dtype` None: float32."""
    import torch

    from models.crops import GEOMETRY
    from models.loading import as_classifier, build_network, fold_batch_norm
    from models.weights import ModelCard

    card = ModelCard(
        *(model, model, network, EMOTIONS, 48, 1, (0.5,), (0.25,), GEOMETRY, "none", "none")
    )
    untrained = fold_batch_norm(build_network(card))
    return as_classifier(untrained, card, flip=False, device=device, dtype=dtype or torch.float32)


def count_gmacs(model: str, network: dict[str, Any]) -> float:
    """Multiply-adds of one face, in billions."""
    from torch.utils.flop_counter import FlopCounterMode

    from models.crops import CROP_PX

    classifier = build_classifier(model, network, "cpu")
    with FlopCounterMode(display=False) as counter:
        classifier.predict(np.zeros((1, CROP_PX, CROP_PX, 3), np.uint8), np.zeros(1, np.int64))
    return counter.get_total_flops() / 2e9


def measure_throughput(
    classifiers: dict[str, EmotionClassifier], batch: int, rounds: int
) -> dict[str, float]:
    """The median over rounds in which every classifier runs once, in random order: the one that
    runs after the largest network starts with cold caches."""
    from models.crops import CROP_PX

    shuffle = random.Random(0)
    crops = np.random.default_rng(0).integers(0, 256, (batch, CROP_PX, CROP_PX, 3), np.uint8)
    ids = np.arange(batch)
    seconds: dict[str, list[float]] = {name: [] for name in classifiers}
    for number in range(rounds + 3):
        for name in shuffle.sample(list(classifiers), len(classifiers)):
            start = time.perf_counter()
            classifiers[name].predict(crops, ids)
            if number >= 3:  # the first rounds are warm-up
                seconds[name].append(time.perf_counter() - start)
    return {name: round(batch / statistics.median(taken), 1) for name, taken in seconds.items()}


def measure_agreement(weights: str, dtype: torch.dtype, device: str) -> dict[str, Any]:
    """On the first faces of the validation cut: how often both formats predict the same class, the
    accuracy of each, and the largest difference of a probability."""
    import torch

    from models.loading import load_classifier
    from trainer.compare.evaluate import mark_correct, predict
    from trainer.data.readers import open_faces

    faces = open_faces("ferplus:cut")[:FACES]
    predictions = [
        predict(load_classifier(weights, device=device, dtype=each), faces)
        for each in (torch.float32, dtype)
    ]
    right = [float(mark_correct(one, faces).mean()) for one in predictions]
    apart = np.abs(predictions[0].probabilities - predictions[1].probabilities).max()
    return {
        "weights": weights,
        "faces": len(faces),
        "same_label": round(
            float((predictions[0].predicted == predictions[1].predicted).mean()), 5
        ),
        "accuracy": [round(share, 5) for share in right],
        "furthest_apart": round(float(apart), 5),
    }


def main() -> None:
    """Measure, print a table, and save the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    given = parser.parse_args()
    import torch

    from models.loading import zoo_names
    from models.precision import bfloat16_is_supported

    if given.dtype == "bfloat16" and given.device == "cpu" and not bfloat16_is_supported():
        parser.error("bfloat16 ends the process on this processor")
    dtype = getattr(torch, given.dtype)
    classifiers = {
        name: build_classifier(*what, given.device, dtype) for name, what in NETWORKS.items()
    }
    speeds: dict[str, dict[str, float]] = {}
    for threads in THREADS if given.device == "cpu" else (1,):
        torch.set_num_threads(threads)
        for batch in BATCHES:
            cell = f"{threads} thread{'s' * (threads > 1)}, batch {batch}"
            speeds[cell] = measure_throughput(classifiers, batch, given.rounds)
    figures = {
        "torch": torch.__version__,
        "device": given.device,
        "dtype": given.dtype,
        "gmac": {name: round(count_gmacs(*what), 4) for name, what in NETWORKS.items()},
        "faces_a_second": speeds,
    }
    if dtype != torch.float32:
        figures["agreement"] = [
            measure_agreement(name, dtype, given.device) for name in zoo_names()
        ]
    result = save_result(
        f"classifier-{given.dtype}" if dtype != torch.float32 else "classifier", figures
    )
    if given.json:
        print(json.dumps(result))
        return
    print(f"{'faces per second':24}" + "".join(f"{name:>24}" for name in NETWORKS))
    print(f"{'GMAC per face':24}" + "".join(f"{cost:>24}" for cost in result["gmac"].values()))
    for cell, row in speeds.items():
        print(f"{cell:24}" + "".join(f"{row[name]:>24}" for name in NETWORKS))
    for found in result.get("agreement", []):
        line = "{weights}: {faces} faces, same class {same_label:.2%}, accuracy {accuracy}, "
        line += "largest difference {furthest_apart}"
        accuracies = " and ".join(f"{share:.2%}" for share in found["accuracy"])
        print(f"{given.dtype} against float32:", line.format(**found | {"accuracy": accuracies}))


if __name__ == "__main__":
    main()
