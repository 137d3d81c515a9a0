"""What the observations of a track are worth: python -m benchmarks.tracks --weights W [--plain V]

Each face under a display in 16 observations with independent noise. Accuracy after 1, 2, 4, 8 and
16 of them, combined in several ways; and where after 8 observations the face becomes one of another
class, accuracy 1, 2, 3, 4 and 8 observations after that. `--plain`: weights of a plain network, the
rival that answers each observation by itself. With weights of LRDif that carry Z along a track, the
ways that use Z stand beside. No TTA, majority rule; the intervals are paired, over faces.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.multi_frame import simulate_frame
from benchmarks.results import save_result

if TYPE_CHECKING:
    from torch import Tensor, nn

    from models.lrdif.network import LRDif
    from models.lrdif.track_prior import Past
    from models.weights import ModelCard
    from trainer.data.faceset import FaceSet

BEFORE, LENGTH = 8, 16
AFTER = (1, 2, 4, 8, 16)
SINCE_CHANGE = (1, 2, 3, 4, 8)
KEPT = 0.7
"""Share of what was known in an exponential mean, at each observation."""
BATCH = 128
RIVAL = "mean logits"
Logits = NDArray[np.float32]
"""Of a sequence of observations: (observations, n, K)."""


def mean_probabilities(logits: Logits) -> Logits:
    """The mean of the probabilities so far, at each observation."""
    exponents = np.exp(logits - logits.max(axis=2, keepdims=True))
    return mean_logits(exponents / exponents.sum(axis=2, keepdims=True))


def mean_logits(logits: Logits) -> Logits:
    """The mean of the logits so far, at each observation: what independent noise asks for."""
    counts = np.arange(1, len(logits) + 1, dtype=np.float32)
    mean: Logits = np.cumsum(logits, axis=0) / counts[:, None, None]
    return mean


def exponential_mean(logits: Logits) -> Logits:
    """A mean of the logits that forgets: `KEPT` of what was known at each observation."""
    mean = logits.copy()
    for number in range(1, len(mean)):
        mean[number] = KEPT * mean[number - 1] + (1 - KEPT) * logits[number]
    return mean


WAYS: Mapping[str, Callable[[Logits], Logits]] = {
    "each by itself": lambda logits: logits,
    "mean probabilities": mean_probabilities,
    RIVAL: mean_logits,
    "exponential mean of logits": exponential_mean,
}


def find_change(labels: NDArray[np.int64], seed: int = 0) -> NDArray[np.int64]:
    """For each face the row of a face of another class that its track changes to.

    Raises ValueError where all faces are of one class.
    """
    rng = np.random.default_rng(seed)
    if len(np.unique(labels)) < 2:
        raise ValueError("faces of one class: give two classes or more")
    return np.array([rng.choice(np.flatnonzero(labels != label)) for label in labels])


def observe_singly(network: nn.Module, inputs: list[Tensor], noise: Tensor) -> Logits:
    """Logits of every observation by itself: inputs (n, c, px, px) of each."""
    import torch

    from models.lrdif.network import LRDif

    def answer(x: Tensor, start: Tensor) -> Tensor:
        logits: Tensor = network(x, start) if isinstance(network, LRDif) else network(x)
        return logits

    return np.stack(
        [
            torch.cat([answer(x, start) for x, start in _batches(each, noise)]).numpy()
            for each in inputs
        ]
    )


def observe_track(
    network: LRDif, inputs: list[Tensor], noise: Tensor, past: Past, mean_of_z: bool = False
) -> tuple[Logits, list[Past]]:
    """Logits of each observation with the Z before it, and the past after each.

    `mean_of_z` restores each Z by itself and keeps an exponential mean of them instead: the rival
    that has no diffusion along the track.
    """
    import torch

    from models.lrdif.prior import epr_norm
    from models.lrdif.track_prior import Past

    logits: list[Logits] = []
    pasts: list[Past] = []
    for x in inputs:
        parts = []
        for rows, (faces, start) in zip(_slices(len(x)), _batches(x, noise), strict=True):
            before = Past(past.z[rows], past.count[rows])
            if not mean_of_z:
                parts.append(network.observe(faces, start, before))
                continue
            encoded, features = network.encode(faces)
            z = network.restorer(features, start)
            known = (before.count > 0)[:, None]
            z = torch.where(known, epr_norm(KEPT * before.z + (1 - KEPT) * z), z)
            trust = network.trust[before.count.clamp(max=len(network.trust) - 1)]
            answer = network.classify(encoded, z, trust[:, None])
            parts.append((answer, Past(z, before.count + 1)))
        logits.append(torch.cat([answer for answer, _ in parts]).numpy())
        past = Past(
            torch.cat([one.z for _, one in parts]), torch.cat([one.count for _, one in parts])
        )
        pasts.append(past)
    return np.stack(logits), pasts


def _slices(n: int) -> list[slice]:
    return [slice(first, first + BATCH) for first in range(0, n, BATCH)]


def _batches(x: Tensor, noise: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    import torch

    for rows in _slices(len(x)):
        yield x[rows].contiguous(memory_format=torch.channels_last), noise[rows]


def answer_in_every_way(
    network: nn.Module, inputs: list[Tensor], noise: Tensor, change: NDArray[np.int64]
) -> dict[str, tuple[Logits, Logits]]:
    """By the way: its answers along a track that stays the same face, (LENGTH, n, K), and along one
    that becomes the face of the row `change` after BEFORE observations."""
    from models.lrdif.network import LRDif
    from models.lrdif.track_prior import Past

    singles = observe_singly(network, inputs, noise)
    changed = np.concatenate([singles[:BEFORE], singles[BEFORE:, change]])
    answers = {name: (way(singles), way(changed)) for name, way in WAYS.items()}
    if not (isinstance(network, LRDif) and network.carries_z):
        return answers
    for name, mean_of_z in (("Z carried", False), ("exponential mean of Z", True)):
        none = Past.none(len(noise), network.prior)
        logits, pasts = observe_track(network, inputs, noise, none, mean_of_z)
        later = [x[change] for x in inputs[BEFORE:]]
        after, _ = observe_track(network, later, noise, pasts[BEFORE - 1], mean_of_z)
        both = logits, np.concatenate([logits[:BEFORE], after])
        answers[name] = both
        answers[f"{name}, mean logits"] = mean_logits(both[0]), mean_logits(both[1])
    return answers


def build_observations(faces: FaceSet, card: ModelCard, cell: str) -> list[Tensor]:
    """Inputs (n, c, px, px) of each of LENGTH observations under the display of a cell."""
    from models.crops import crops_from_tiles
    from models.model_input import to_model_input

    return [
        to_model_input(crops_from_tiles(simulate_frame(faces, cell, number)), card)
        for number in range(LENGTH)
    ]


def measure(
    networks: Mapping[str, tuple[nn.Module, ModelCard]], faces: FaceSet, cell: str, start: str
) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """By "weights: way": whether each face is right after each observation, (LENGTH, n) bool,
    `same` of tracks that stay and `changed` of those that change."""
    import torch

    from models.lrdif.classifier import draw_noise

    change = find_change(faces.labels)
    found = {}
    for weights, (network, card) in networks.items():
        inputs = build_observations(faces, card, cell)
        size = int(getattr(network, "prior", 1))
        noise = torch.zeros(len(faces), size)
        if start == "seeded":
            drawn = [draw_noise(int(face), 0, 1, size)[0] for face in faces.ids]
            noise = torch.from_numpy(np.stack(drawn))
        with torch.inference_mode():
            answers = answer_in_every_way(network, inputs, noise, change)
        for way, (same, changed) in answers.items():
            wanted = np.concatenate(
                [np.tile(faces.labels, (BEFORE, 1)), np.tile(faces.labels[change], (BEFORE, 1))]
            )
            found[f"{weights}: {way}"] = {
                "same": same.argmax(axis=2) == faces.labels,
                "changed": changed.argmax(axis=2) == wanted,
            }
    return found


def summarise(
    found: Mapping[str, Mapping[str, NDArray[np.bool_]]], rival: str
) -> dict[str, dict[str, list[float]]]:
    """By the way: accuracy after each number of AFTER and of SINCE_CHANGE, and the lead over the
    rival after 8 observations with its interval (gain, low, high); all in 0..1."""
    from trainer.compare.metrics import paired_difference

    table = {}
    for name, right in found.items():
        same, changed = right["same"], right["changed"]
        lead = paired_difference(*(right[BEFORE - 1] for right in (same, found[rival]["same"])))
        table[name] = {
            "same": [_share(same[number - 1]) for number in AFTER],
            "changed": [_share(changed[BEFORE + number - 1]) for number in SINCE_CHANGE],
            "lead": [round(share, 5) for share in asdict(lead).values()],
        }
    return table


def _share(right: NDArray[np.bool_]) -> float:
    return round(float(right.mean()), 5)


def draw_table(cells: Mapping[str, Mapping[str, Mapping[str, list[float]]]]) -> str:
    """A row for each condition and way, in per cent and points."""
    headings = [f"after {n}" for n in AFTER] + [f"changed, {n}" for n in SINCE_CHANGE]
    lines = [f"{'':56}" + "".join(f"{name:>12}" for name in headings) + "   lead after 8"]
    for cell, ways in cells.items():
        for name, row in ways.items():
            shares = "".join(f"{share:>12.1%}" for share in row["same"] + row["changed"])
            gain, low, high = (100 * share for share in row["lead"])
            lines.append(f"{cell:8}{name:48}{shares}   {gain:+.1f} ({low:+.1f} to {high:+.1f})")
    return "\n".join(lines)


def main() -> None:
    """Measure, print a table, and save the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--plain", default="", help="weights of the plain rival")
    parser.add_argument("--data", default="ferplus:cut")
    parser.add_argument("--conditions", default="udc_t/5,udc_p/5")
    parser.add_argument("--limit", type=int, default=0, help="only the first N faces; 0: all")
    parser.add_argument("--start", choices=("seeded", "zero"), default="seeded")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    given = parser.parse_args()
    import torch

    from models.loading import load_network
    from models.udc.suites import conditions
    from trainer.data.readers import open_faces

    torch.set_num_threads(given.threads)
    faces = open_faces(given.data)[: given.limit or None]
    networks = {
        Path(name).stem: load_network(name) for name in (given.weights, given.plain) if name
    }
    rival = f"{Path(given.plain or given.weights).stem}: {RIVAL}"
    cells = {
        cell: summarise(measure(networks, faces, cell, given.start), rival)
        for cell in conditions(given.conditions)
    }
    figures = {
        "data": faces.name,
        "n": len(faces),
        "start": given.start,
        "rival": rival,
        "after": AFTER,
        "since_change": SINCE_CHANGE,
        "cells": cells,
    }
    result = save_result(f"tracks-{Path(given.weights).stem}", figures)
    print(json.dumps(result) if given.json else draw_table(cells))


if __name__ == "__main__":
    main()
