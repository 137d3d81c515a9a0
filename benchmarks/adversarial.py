"""Adversarial robustness: python -m benchmarks.adversarial --weights A,B [--eps 1,2,4] [--json]

The accuracy of weights under FGSM, PGD, EOT and transferred attacks (`trainer.compare.adversarial`)
on PublicTest faces whose pixels are not in Training, those of the smallest hash. The strongest
attack of each size counts; the first weights are compared with each other under it. With 200 faces
a standard error is 3 points. Horizontal-flip TTA.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks.results import save_result

if TYPE_CHECKING:
    from models.serving import SoftmaxClassifier

SOURCE = "resnet18-w36"


def open_classifier(name: str, copies: int) -> SoftmaxClassifier:
    """Weights as their classifier, with so many noisy copies of each face where it takes any; 0: as
    many as the weights name."""
    from models.emodc.noisy_copies import NoisyClassifier
    from models.loading import load_classifier

    classifier: Any = load_classifier(name)
    if copies and isinstance(classifier, NoisyClassifier):
        classifier.steps = copies
    return classifier


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """The table of all weights, and what it was measured on."""
    import torch

    from trainer.compare.adversarial import measure_robustness, select_faces, tabulate_robustness
    from trainer.data.readers import open_faces

    torch.set_num_threads(given.threads)
    begun = time.monotonic()
    faces = select_faces(open_faces(given.data), given.faces)
    names, sizes = given.weights.split(","), [int(eps) for eps in given.eps.split(",")]
    classifiers = {name: open_classifier(name, given.copies) for name in names}
    source = open_classifier(given.source, given.copies) if given.source else None

    def report(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    attacks = given.attacks.split(",")
    found = measure_robustness(classifiers, faces, sizes, attacks, source, report)
    return {
        "data": faces.name,
        "n": len(faces),
        "source": given.source,
        "copies": given.copies,
        **tabulate_robustness(found, sizes),
        "seconds": round(time.monotonic() - begun, 1),
    }


def main() -> None:
    """Measure, print, and save the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default=SOURCE, help="names or files, separated by commas")
    parser.add_argument("--data", default="ferplus:public")
    parser.add_argument("--eps", default="1,2,4", help="largest changes, of 255 levels")
    parser.add_argument("--faces", type=int, default=200)
    parser.add_argument("--attacks", default="fgsm,pgd,eot,transfer")
    parser.add_argument("--source", default=SOURCE, help="attacked for transfer; empty: none")
    parser.add_argument(
        "--copies", type=int, default=0, help="noisy copies of a face; 0: as trained"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    given = parser.parse_args()
    result = save_result("adversarial", measure(given))
    if given.json:
        print(json.dumps(result), flush=True)
        return
    for name, row in result["weights"].items():
        print(f"{name}: clean {row['clean']['accuracy']:.2%}")
        for eps, worst in row["strongest"].items():
            print(f"  {eps}/255: {worst['accuracy']:.2%} under {worst['attack']}")


if __name__ == "__main__":
    main()
