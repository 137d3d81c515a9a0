"""What a second route adds: python -m benchmarks.two_routes --robust W [--cost 8] [--limit 400]

The answers of the routes fast and robust are fused as log p = a log p_fast + b log p_robust, with a
and b fitted on the validation cut for faces in good and in degraded images (DESIGN, Routes), and
compared with fast alone on other faces: where every face is asked again, and where only the most
uncertain of each condition are, so many that robust computes at most `--share` of what fast does.
`linear` is the weighted mean of probabilities that the pipeline takes, its weight fitted as well.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import save_result

if TYPE_CHECKING:
    from trainer.data.faceset import FaceSet

Floats = NDArray[np.float64]
LEAST = 1e-6
"""No probability is less, so that its logarithm is finite."""
WEIGHTS = np.concatenate([[0.0], np.geomspace(0.05, 20, 40)])
"""Of robust beside 1 for fast, from which the linear one is chosen."""


@dataclass(frozen=True)
class Answers:
    """Of n faces under one condition or several: the probabilities (n, K) of both routes, which of
    the images are degraded, and the labels, (n,) each."""

    fast: Floats
    robust: Floats
    degraded: NDArray[np.bool_]
    labels: NDArray[np.int64]

    def __getitem__(self, rows: NDArray[Any]) -> Answers:
        return Answers(*(getattr(self, field.name)[rows] for field in fields(self)))


def join(parts: list[Answers]) -> Answers:
    """All faces of several conditions."""
    names = [field.name for field in fields(Answers)]
    return Answers(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def fuse_log(answers: Answers, a: float, b: float) -> Floats:
    """Probabilities (n, K) of the logarithmic pool."""
    logits = a * np.log(answers.fast.clip(LEAST)) + b * np.log(answers.robust.clip(LEAST))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fuse_linear(answers: Answers, weight: float) -> Floats:
    """Probabilities (n, K) of the weighted mean, as the pipeline has it (`fusion_weight`)."""
    return np.asarray((answers.fast + weight * answers.robust) / (1 + weight))


def fit_log(answers: Answers) -> tuple[float, float]:
    """The a and b, neither negative, of least negative log-likelihood."""
    from scipy.optimize import minimize

    def loss(ab: Floats) -> float:
        chosen = fuse_log(answers, *ab)[np.arange(len(answers.labels)), answers.labels]
        return -float(np.log(chosen.clip(LEAST)).mean())

    found = minimize(loss, [0.5, 0.5], method="L-BFGS-B", bounds=[(0, 4), (0, 4)])
    return float(found.x[0]), float(found.x[1])


def fit_linear(answers: Answers) -> float:
    """The weight of least negative log-likelihood."""

    def loss(weight: float) -> float:
        chosen = fuse_linear(answers, weight)[np.arange(len(answers.labels)), answers.labels]
        return -float(np.log(chosen.clip(LEAST)).mean())

    return float(min(WEIGHTS, key=loss))


def choose_uncertain(probabilities: Floats, most: float) -> NDArray[np.bool_]:
    """(n,) the share `most` of the rows that are the most uncertain, by their entropy."""
    entropy = -(probabilities * np.log(probabilities.clip(LEAST))).sum(axis=1)
    chosen = np.zeros(len(entropy), bool)
    chosen[np.argsort(-entropy, kind="stable")[: round(most * len(entropy))]] = True
    return chosen


def predict_both(
    classifiers: dict[str, Any], faces: FaceSet, cell: str, degraded_noise: float
) -> Answers:
    """What both routes say of faces under a condition."""
    from models.crops import crops_from_tiles
    from models.quality import measure
    from trainer.compare.evaluate import apply_condition, predict

    seen = apply_condition(faces, cell)
    side = float(seen.tiles.shape[1])
    boxes = np.tile(np.array([0, 0, side, side], np.float32), (len(seen), 1))
    degraded = measure(crops_from_tiles(seen.tiles), boxes).noise > degraded_noise
    own, other = (predict(classifiers[name], seen).probabilities for name in ("own", "degraded"))
    robust = predict(classifiers["robust"], seen).probabilities
    fast = np.where(degraded[:, None], other, own)
    return Answers(
        fast.astype(np.float64),
        robust.astype(np.float64),
        degraded,
        seen.labels,
    )


def compare(cut: Answers, cells: dict[str, Answers], most: float) -> dict[str, Any]:
    """Fit on the cut, and compare on the cells: accuracy in per cent of fast, of robust, and of
    both, for all faces and for the share `most`; over all cells with an interval."""
    bins = {"good": ~cut.degraded, "degraded": cut.degraded}
    log = {name: fit_log(cut[rows]) if rows.any() else (1.0, 0.0) for name, rows in bins.items()}
    linear = {name: fit_linear(cut[rows]) if rows.any() else 0.0 for name, rows in bins.items()}
    rows: dict[str, dict[str, float]] = {}
    right: dict[str, list[NDArray[np.bool_]]] = {}
    for cell, answers in cells.items():
        of = [("degraded" if is_degraded else "good") for is_degraded in answers.degraded]
        by_log, by_linear = np.empty_like(answers.fast), np.empty_like(answers.fast)
        for name in bins:
            rows_of = np.array([one == name for one in of])
            by_log[rows_of] = fuse_log(answers[rows_of], *log[name])
            by_linear[rows_of] = fuse_linear(answers[rows_of], linear[name])
        uncertain = choose_uncertain(answers.fast, most)[:, None]
        ways = {
            "fast": answers.fast,
            "robust": answers.robust,
            "log, all": by_log,
            "linear, all": by_linear,
            "log, share": np.where(uncertain, by_log, answers.fast),
            "linear, share": np.where(uncertain, by_linear, answers.fast),
        }
        hits = {way: p.argmax(axis=1) == answers.labels for way, p in ways.items()}
        rows[cell] = {way: round(100 * float(hit.mean()), 1) for way, hit in hits.items()}
        for way, hit in hits.items():
            right.setdefault(way, []).append(hit)
    return {"log": log, "linear": linear, "cells": rows, "gains": _gains(right)}


def _gains(right: dict[str, list[NDArray[np.bool_]]]) -> dict[str, Any]:
    """By how many points each way beats fast over all cells; the face is the unit."""
    from trainer.compare.metrics import paired_difference

    mean = {way: np.mean(np.array(each, float), axis=0) for way, each in right.items()}
    gains = {}
    for way in mean.keys() - {"fast"}:
        found = paired_difference(mean[way], mean["fast"])
        gains[way] = [round(100 * x, 2) for x in (found.delta, found.low, found.high)]
    return dict(sorted(gains.items()))


def main() -> None:
    """Measure, print, and save the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.two_routes")
    parser.add_argument("--fast", default="resnet18-w36")
    parser.add_argument("--degraded", default="resnet18-w36-udc-real")
    parser.add_argument("--robust", required=True)
    parser.add_argument("--cost", type=float, default=8.0, help="of a face, in faces of fast")
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--conditions", default="clean,fer_nb,udc_c")
    parser.add_argument("--severities", default="3,5")
    parser.add_argument("--data", default="ferplus:public")
    parser.add_argument("--cut", default="ferplus:cut")
    parser.add_argument("--limit", type=int, default=400, help="faces of each; 0: all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    import torch

    from models.loading import load_classifier
    from models.udc.suites import conditions
    from pipeline.emotion_settings import RouteSettings
    from trainer.data.readers import open_faces

    torch.set_num_threads(options.threads)
    names = {"own": options.fast, "degraded": options.degraded, "robust": options.robust}
    classifiers = {name: load_classifier(weights) for name, weights in names.items()}
    severities = options.severities.split(",")
    cells = [
        cell
        for cell in conditions(options.conditions)
        if "/" not in cell or cell.split("/")[1] in severities
    ]
    answers = {}
    for which, address in (("cut", options.cut), ("data", options.data)):
        faces = open_faces(address)
        faces = faces[: options.limit] if options.limit else faces
        noise = RouteSettings().degraded_noise
        answers[which] = {cell: predict_both(classifiers, faces, cell, noise) for cell in cells}
    most = min(1.0, options.share / options.cost)
    found = compare(join(list(answers["cut"].values())), answers["data"], most)
    result = save_result("two-routes", vars(options) | {"requested_share": most} | found)
    if options.json:
        print(json.dumps(result))
        return
    print(f"a, b: {found['log']}; linear: {found['linear']}; robust requested for {most:.1%}")
    for cell, row in found["cells"].items():
        print(f"{cell:20}", ", ".join(f"{way} {value}" for way, value in row.items()))
    for way, (gain, low, high) in found["gains"].items():
        print(f"{way} - fast: {gain:+.2f} points ({low:+.2f} to {high:+.2f})")


if __name__ == "__main__":
    main()
