"""Whether LRDif uses its prior Z: python -m benchmarks.prior_use --weights W [--conditions C,...]

Accuracy as it serves; with the Z of another face; with Z_T = 0 in place of noise; with the mean
over several starts; and, of a network with a trunk, without Z. The use of Z is the accuracy with
its own Z less that with another face's: at 0 the network does not use the diffusion. No TTA.
Accuracy under the majority rule.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from benchmarks.results import save_result
from models.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

    from models.lrdif.network import LRDif
    from models.weights import ModelCard
    from trainer.data.faceset import FaceSet

BATCH = 128
STARTS = 4
OWN_Z, OTHER_Z = "as it serves", "Z of another face"
Probe: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
"""Faces and their starts (starts, n, prior) -> logits (n, K)."""


def open_network(name: str) -> tuple[LRDif, ModelCard]:
    """An LRDif and its card; raises ModelError for weights of another model."""
    from models.loading import build_network, find_weights
    from models.lrdif.network import LRDif
    from models.weights import read_card, read_state, restore

    path = find_weights(name)
    card = read_card(path)
    network = build_network(card)
    if not isinstance(network, LRDif):
        raise ModelError(f"weights of {card.model}", str(path), "give weights of lrdif")
    if network.diffusion.insert_noise:
        raise ModelError("noise in every step", str(path), "give weights without insert_noise")
    restore(network, read_state(path), path)
    return network.eval(), card


def build_probes(network: LRDif) -> dict[str, Probe]:
    """Each probe by its name."""
    import torch

    from models.lrdif.trunk import ModulatedResNet

    def average_starts(x: Tensor, starts: Tensor) -> Tensor:
        return torch.stack([network(x, start) for start in starts]).mean(dim=0)

    def shuffle(x: Tensor, starts: Tensor) -> Tensor:
        encoded, features = network.encode(x)
        return network.classify(encoded, network.restorer(features, starts[0]).roll(1, dims=0))

    probes: dict[str, Probe] = {
        OWN_Z: lambda x, starts: network(x, starts[0]),
        OTHER_Z: shuffle,
        "start at zero": lambda x, starts: network(x, torch.zeros_like(starts[0])),
        f"mean of {STARTS} starts": average_starts,
    }
    if isinstance(former := network.former, ModulatedResNet):
        probes["no Z"] = lambda x, starts: former(x)
    return probes


def measure(network: LRDif, card: ModelCard, faces: FaceSet) -> dict[str, float]:
    """The accuracy of every probe."""
    import torch

    from models.crops import crops_from_tiles
    from models.lrdif.classifier import draw_noise
    from models.model_input import to_model_input

    probes = build_probes(network)
    right = dict.fromkeys(probes, 0)
    for first in range(0, len(faces), BATCH):
        part = faces[first : first + BATCH]
        x = to_model_input(crops_from_tiles(part.tiles), card)
        x = x.contiguous(memory_format=torch.channels_last)
        noise = [
            [draw_noise(int(face), draw, 1, network.prior)[0] for face in part.ids]
            for draw in range(STARTS)
        ]
        starts = torch.from_numpy(np.array(noise, np.float32))
        labels = torch.from_numpy(part.labels)
        with torch.inference_mode():
            for name, probe in probes.items():
                right[name] += int((probe(x, starts).argmax(dim=1) == labels).sum())
    return {name: round(count / len(faces), 5) for name, count in right.items()}


def use_of_z(accuracy: dict[str, float]) -> float:
    """Accuracy with each face's own Z less that with another face's: 0 where Z is ignored."""
    return round(accuracy[OWN_Z] - accuracy[OTHER_Z], 5)


def main() -> None:
    """Measure, print a table, and save the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", default="ferplus:public")
    parser.add_argument("--conditions", default="clean,udc_t,udc_p")
    parser.add_argument("--limit", type=int, default=0, help="only the first N faces; 0: all")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    given = parser.parse_args()
    from models.udc.suites import conditions
    from trainer.compare.evaluate import apply_condition
    from trainer.data.readers import open_faces

    faces = open_faces(given.data)[: given.limit or None]
    network, card = open_network(given.weights)
    cells = {
        cell: measure(network, card, apply_condition(faces, cell))
        for cell in conditions(given.conditions)
    }
    figures = {
        "weights": given.weights,
        "data": faces.name,
        "n": len(faces),
        "averaging": "none",
        "accuracy": cells,
        "use_of_z": {cell: use_of_z(shares) for cell, shares in cells.items()},
    }
    result = save_result(f"prior-use-{Path(given.weights).stem}", figures)
    if given.json:
        print(json.dumps(result))
        return
    headings = "".join(f"{name:>20}" for name in build_probes(network))
    print(f"{given.weights}, {len(faces)} faces{headings}{'use of Z, points':>20}")
    for cell, row in cells.items():
        shares = "".join(f"{share:>20.2%}" for share in row.values())
        print(f"{cell:24}{shares}{100 * figures['use_of_z'][cell]:>+20.2f}")


if __name__ == "__main__":
    main()
