"""`undercam export`: weights as ONNX, for runtimes without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument

from pipeline.cli.options import AsJson
from pipeline.cli.output import ERRORS, print_json


def export(
    weights: Annotated[str, Argument(help="A name in the zoo, or a .safetensors file.")],
    out: Annotated[Path, Argument(help="The .onnx file to write.")],
    as_json: AsJson = False,
) -> None:
    """Write weights as ONNX: `x` (and `noise`, of a model that samples) in, `logits` out.

    The outputs are compared with torch's before the file is kept. Its metadata hold the card, which
    states how faces become `x`, and which temperature divides the logits.
    """
    from models.export import export as write

    difference = write(weights, out)
    if as_json:
        print_json({"weights": weights, "out": str(out), "difference": difference})
    else:
        ERRORS.print(f"wrote {out}: within {difference:.1g} of torch's logits")
