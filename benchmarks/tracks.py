"""What the observations of a track are worth: python -m benchmarks.tracks --weights W [--plain V]

Each face under a display in 16 observations with independent noise. Accuracy after 1, 2, 4, 8 and
16 of them, combined in several ways; and where after 8 observations the face becomes one of another
class, accuracy 1, 2, 3, 4 and 8 observations after that. `--plain`: weights of a plain network, the
baseline that answers each observation by itself; `--gru N` trains a GRU on its features of N
training faces. With weights of LRDif that carry Z along a track, the ways that use Z stand beside.
No TTA, majority rule; the intervals are paired, over faces.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.multi_frame import simulate_frame
from benchmarks.results import save_result

if TYPE_CHECKING:
    from torch import Tensor, nn

    from benchmarks.gru import FeatureGRU
    from models.weights import ModelCard
    from trainer.data.faceset import FaceSet

AFTER = (1, 2, 4, 8, 16)
SINCE_CHANGE = (1, 2, 3, 4, 8)


def find_change(labels: NDArray[np.int64], seed: int = 0) -> NDArray[np.int64]:
    """For each face the row of a face of another class that its track changes to.

    Raises ValueError where all faces are of one class.
    """
    rng = np.random.default_rng(seed)
    if len(np.unique(labels)) < 2:
        raise ValueError("faces of one class: give two classes or more")
    return np.array([rng.choice(np.flatnonzero(labels != label)) for label in labels])


def build_observations(faces: FaceSet, card: ModelCard, cell: str) -> list[Tensor]:
    """Inputs (n, c, px, px) of each of LENGTH observations under the display of a cell."""
    from benchmarks.track_ways import LENGTH
    from models.crops import crops_from_tiles
    from models.model_input import to_model_input

    return [
        to_model_input(crops_from_tiles(simulate_frame(faces, cell, number)), card)
        for number in range(LENGTH)
    ]


def measure(
    networks: Mapping[str, tuple[nn.Module, ModelCard]],
    faces: FaceSet,
    cell: str,
    start: str,
    grus: Mapping[str, FeatureGRU] | None = None,
) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """By "weights: way": whether each face is right after each observation, (LENGTH, n) bool,
    `same` of tracks that stay and `changed` of those that change."""
    import torch

    from benchmarks.track_ways import BEFORE, answer_in_every_way
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
            gru = (grus or {}).get(weights)
            answers = answer_in_every_way(network, inputs, noise, change, gru)
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
    found: Mapping[str, Mapping[str, NDArray[np.bool_]]], baseline: str
) -> dict[str, dict[str, list[float]]]:
    """By the way: accuracy after each number of AFTER and of SINCE_CHANGE, and the lead over the
    baseline after 8 observations with its interval (gain, low, high); all in 0..1."""
    from benchmarks.track_ways import BEFORE
    from trainer.compare.metrics import paired_difference

    table = {}
    for name, right in found.items():
        same, changed = right["same"], right["changed"]
        lead = paired_difference(*(right[BEFORE - 1] for right in (same, found[baseline]["same"])))
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
    parser.add_argument("--plain", default="", help="weights of the plain baseline")
    parser.add_argument("--gru", type=int, default=0, help="train a GRU on N faces; 0: none")
    parser.add_argument("--data", default="ferplus:cut")
    parser.add_argument("--conditions", default="udc_t/5,udc_p/5")
    parser.add_argument("--limit", type=int, default=0, help="only the first N faces; 0: all")
    parser.add_argument("--start", choices=("seeded", "zero"), default="seeded")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    given = parser.parse_args()
    import torch

    from benchmarks.gru import train_baseline_gru
    from benchmarks.track_ways import BASELINE
    from models.loading import load_network
    from models.udc.suites import conditions
    from trainer.data.readers import open_faces

    torch.set_num_threads(given.threads)
    faces = open_faces(given.data)[: given.limit or None]
    networks = {
        Path(name).stem: load_network(name) for name in (given.weights, given.plain) if name
    }
    baseline = f"{Path(given.plain or given.weights).stem}: {BASELINE}"
    grus = {}
    if given.gru and given.plain:
        grus = {
            Path(given.plain).stem: train_baseline_gru(*networks[Path(given.plain).stem], given.gru)
        }
    cells = {
        cell: summarise(measure(networks, faces, cell, given.start, grus), baseline)
        for cell in conditions(given.conditions)
    }
    figures = {
        "data": faces.name,
        "n": len(faces),
        "start": given.start,
        "baseline": baseline,
        "after": AFTER,
        "since_change": SINCE_CHANGE,
        "cells": cells,
    }
    result = save_result(f"tracks-{Path(given.weights).stem}", figures)
    print(json.dumps(result) if given.json else draw_table(cells))


if __name__ == "__main__":
    main()
