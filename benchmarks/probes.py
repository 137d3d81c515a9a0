"""Whether LRDif uses its prior: python -m benchmarks.probes --weights W [--conditions clean,udc]

Accuracy as it serves; with every face given another face's Z; with Z_T = 0 in place of noise; and
with the mean of several starts. If another's Z costs nothing, the network does without diffusion.
Without the mirror image. Accuracy under the majority rule.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from benchmarks.kept import keep
from models.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

    from models.lrdif.network import LRDif
    from models.weights import ModelCard
    from trainer.data.faceset import FaceSet

BATCH = 128
DRAWS = 4
ClassifierClient: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
"""Faces and their starts (draws, n, prior) -> logits (n, K)."""


def opened(name: str) -> tuple[LRDif, ModelCard]:
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


def ways(network: LRDif) -> dict[str, ClassifierClient]:
    """Each probe by its name."""
    import torch

    def drawn(x: Tensor, starts: Tensor) -> Tensor:
        return torch.stack([network(x, start) for start in starts]).mean(dim=0)

    return {
        "as it serves": lambda x, starts: network(x, starts[0]),
        "Z of another face": lambda x, starts: network.former(
            x, network.restore(x, starts[0]).roll(1, dims=0)
        ),
        "start at zero": lambda x, starts: network(x, torch.zeros_like(starts[0])),
        f"mean of {DRAWS} starts": drawn,
    }


def measured(network: LRDif, card: ModelCard, faces: FaceSet) -> dict[str, float]:
    """The accuracy of every probe."""
    import torch

    from models.crops import crops_from_tiles
    from models.lrdif.classifier import draw_noise
    from models.model_input import to_model_input

    right = dict.fromkeys(ways(network), 0)
    for first in range(0, len(faces), BATCH):
        part = faces[first : first + BATCH]
        x = to_model_input(crops_from_tiles(part.tiles), card)
        x = x.contiguous(memory_format=torch.channels_last)
        drawn = [
            [draw_noise(int(face), draw, 1, network.prior)[0] for face in part.ids]
            for draw in range(DRAWS)
        ]
        starts = torch.from_numpy(np.array(drawn, np.float32))
        labels = torch.from_numpy(part.labels)
        with torch.inference_mode():
            for name, ask in ways(network).items():
                right[name] += int((ask(x, starts).argmax(dim=1) == labels).sum())
    return {name: round(count / len(faces), 5) for name, count in right.items()}


def main() -> None:
    """Measure, print a table, and write it as JSON beside the other results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", default="ferplus:public")
    parser.add_argument("--conditions", default="clean,udc_t,udc_p")
    parser.add_argument("--limit", type=int, default=0, help="only the first N faces; 0: all")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    given = parser.parse_args()
    from models.udc.suites import conditions
    from trainer.compare.evaluate import under
    from trainer.data.readers import open_faces

    faces = open_faces(given.data)[: given.limit or None]
    network, card = opened(given.weights)
    cells = {
        cell: measured(network, card, under(faces, cell)) for cell in conditions(given.conditions)
    }
    figures = {
        "weights": given.weights,
        "data": faces.name,
        "n": len(faces),
        "averaging": "none",
        "accuracy": cells,
    }
    result = keep(f"probes-{Path(given.weights).stem}", figures)
    if given.json:
        print(json.dumps(result))
        return
    print(f"{given.weights}, {len(faces)} faces" + "".join(f"{name:>20}" for name in ways(network)))
    for cell, row in cells.items():
        print(f"{cell:24}" + "".join(f"{share:>20.2%}" for share in row.values()))


if __name__ == "__main__":
    main()
