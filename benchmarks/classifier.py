"""Faces a second, side by side in one process: python -m benchmarks.classifier [--device cuda]

LRDif with 4 steps and with 1, the equal-compute ResNet-18 and the largest that ships, each asked
as it serves (without the mirror image), at batches of 1, 8 and 32 and on 1 and 2 threads. Models
take turns, so that a slow moment hits all of them; the median of the rounds counts. Speed does not
hang on what weights hold: networks are as drawn. With --dtype bfloat16 all is computed in that, and
the shipped weights name faces of the validation cut in both formats: how often do they agree?
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.kept import keep
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
"""Of the validation cut, asked in both formats."""


def opened(
    model: str, network: dict[str, Any], device: str, dtype: torch.dtype | None = None
) -> EmotionClassifier:
    """A classifier of untrained weights, without the mirror image; `dtype` None: float32."""
    import torch

    from models.crops import GEOMETRY
    from models.loading import as_classifier, build_network, fold_batch_norm
    from models.weights import ModelCard

    card = ModelCard(
        *(model, model, network, EMOTIONS, 48, 1, (0.5,), (0.25,), GEOMETRY, "none", "none")
    )
    drawn = fold_batch_norm(build_network(card))
    return as_classifier(drawn, card, flip=False, device=device, dtype=dtype or torch.float32)


def gmacs(model: str, network: dict[str, Any]) -> float:
    """Multiply-adds of one face, in billions."""
    from torch.utils.flop_counter import FlopCounterMode

    from models.crops import CROP_PX

    classifier = opened(model, network, "cpu")
    with FlopCounterMode(display=False) as counter:
        classifier.predict(np.zeros((1, CROP_PX, CROP_PX, 3), np.uint8), np.zeros(1, np.int64))
    return counter.get_total_flops() / 2e9


def faces_a_second(
    classifiers: dict[str, EmotionClassifier], batch: int, rounds: int
) -> dict[str, float]:
    """The median over rounds in which every classifier is asked once, in an order drawn anew: who
    comes after the largest network finds the caches cold."""
    from models.crops import CROP_PX

    draws = random.Random(0)
    crops = np.random.default_rng(0).integers(0, 256, (batch, CROP_PX, CROP_PX, 3), np.uint8)
    ids = np.arange(batch)
    seconds: dict[str, list[float]] = {name: [] for name in classifiers}
    for number in range(rounds + 3):
        for name in draws.sample(list(classifiers), len(classifiers)):
            start = time.perf_counter()
            classifiers[name].predict(crops, ids)
            if number >= 3:  # the first are warm-up
                seconds[name].append(time.perf_counter() - start)
    return {name: round(batch / statistics.median(taken), 1) for name, taken in seconds.items()}


def agreement(weights: str, dtype: torch.dtype, device: str) -> dict[str, Any]:
    """Of the first faces of the validation cut: how often both formats name them alike, how right
    each is, and how far apart the probabilities are at most."""
    import torch

    from models.loading import load_classifier
    from trainer.compare.evaluate import correctness, predict
    from trainer.data.readers import open_faces

    faces = open_faces("ferplus:cut")[:FACES]
    said = [
        predict(load_classifier(weights, device=device, dtype=each), faces)
        for each in (torch.float32, dtype)
    ]
    right = [float(correctness(one, faces).mean()) for one in said]
    apart = np.abs(said[0].probabilities - said[1].probabilities).max()
    return {
        "weights": weights,
        "faces": len(faces),
        "same_label": round(float((said[0].answers == said[1].answers).mean()), 5),
        "accuracy": [round(share, 5) for share in right],
        "furthest_apart": round(float(apart), 5),
    }


def main() -> None:
    """Measure, print a table, and write it as JSON beside the other results."""
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
    classifiers = {name: opened(*what, given.device, dtype) for name, what in NETWORKS.items()}
    speeds: dict[str, dict[str, float]] = {}
    for threads in THREADS if given.device == "cpu" else (1,):
        torch.set_num_threads(threads)
        for batch in BATCHES:
            cell = f"{threads} thread{'s' * (threads > 1)}, batch {batch}"
            speeds[cell] = faces_a_second(classifiers, batch, given.rounds)
    figures = {
        "torch": torch.__version__,
        "device": given.device,
        "dtype": given.dtype,
        "gmac": {name: round(gmacs(*what), 4) for name, what in NETWORKS.items()},
        "faces_a_second": speeds,
    }
    if dtype != torch.float32:
        figures["agreement"] = [agreement(name, dtype, given.device) for name in zoo_names()]
    result = keep(f"classifier-{given.dtype}" if dtype != torch.float32 else "classifier", figures)
    if given.json:
        print(json.dumps(result))
        return
    print(f"{'faces a second':24}" + "".join(f"{name:>24}" for name in NETWORKS))
    print(f"{'GMAC a face':24}" + "".join(f"{cost:>24}" for cost in result["gmac"].values()))
    for cell, row in speeds.items():
        print(f"{cell:24}" + "".join(f"{row[name]:>24}" for name in NETWORKS))
    for found in result.get("agreement", []):
        told = "{weights}: {faces} faces, same label {same_label:.2%}, right {accuracy}, "
        told += "furthest apart {furthest_apart}"
        right = " and ".join(f"{share:.2%}" for share in found["accuracy"])
        print(f"{given.dtype} against float32:", told.format(**found | {"accuracy": right}))


if __name__ == "__main__":
    main()
