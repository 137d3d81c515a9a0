"""`undercam export`: weights as ONNX, for runtimes without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from pipeline.cli.output import ERRORS, print_json


def export(
    weights: Annotated[str, Argument(help="A name in the zoo, or a .safetensors file.")],
    out: Annotated[Path, Argument(help="The .onnx file to write.")],
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write weights as ONNX: `x` (and `noise`, of a model that draws) in, `logits` out.

    The file is checked against torch before it is kept. Its metadata hold the card, which says how
    faces become `x`, and which temperature divides the logits.
    """
    from models.export import export as write

    difference = write(weights, out)
    if as_json:
        print_json({"weights": weights, "out": str(out), "difference": difference})
    else:
        ERRORS.print(f"wrote {out}: within {difference:.1g} of torch's logits")
