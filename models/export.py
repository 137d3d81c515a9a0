"""Weights as ONNX, for runtimes without torch: checked against torch before the file is kept.

The graph takes `x` (n, channels, px, px) float32 as `models.model_input` makes it, stretched where
there is little contrast and normalised as the card says, and gives `logits` (n, K). A model that
draws at random has `noise` (n, draws of N(0, I), size) as a second input, its steps unrolled. The
card is JSON under `undercam.card` in the file's metadata.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from models.atomic_files import writing
from models.crops import CROP_PX
from models.errors import ModelError
from models.loading import load_network
from models.model_input import to_model_input
from models.registry import family_of
from models.weights import CARD_KEY, ModelCard

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference between a logit of the file and one of torch."""
FACES = 3


def export(name_or_path: str, out: Path) -> float:
    """Write weights as ONNX; returns the largest difference from torch's logits that was seen.

    Raises ModelError for weights that cannot be exported, or whose graph gives other logits, and
    UndercamError where nothing can be written.
    """
    return write(*load_network(name_or_path), out)


def write(network: nn.Module, card: ModelCard, out: Path) -> float:
    """`export` of a network and its card."""
    export = family_of(card).export
    exported, more = export(network, card, FACES) if export else (network, {})
    inputs = {"x": _sample_input(card), **more}
    exported.eval()
    with writing(out) as unfinished:
        _trace(exported, inputs, unfinished, card)
        _write_card(unfinished, card)
        difference = _max_difference(exported, card, unfinished, inputs)
        if not difference <= TOLERANCE:
            what = f"the graph's logits differ by {difference:.2g}"
            raise ModelError(what, card.name, "use the weights themselves, and report it")
    return difference


def _sample_input(card: ModelCard) -> Tensor:
    """Images of noise as they become a network's input."""
    rng = np.random.default_rng(0)
    return to_model_input(rng.integers(0, 256, (FACES, CROP_PX, CROP_PX, 3), np.uint8), card)


def _trace(network: nn.Module, inputs: dict[str, Tensor], path: Path, card: ModelCard) -> None:
    names = [*inputs, "logits"]
    with warnings.catch_warnings():
        # The tracing exporter is deprecated; the newer one needs a package more. Sizes of images
        # become constants, as they should, and the tracer warns of each.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                network,
                tuple(inputs.values()),
                path,
                input_names=list(inputs),
                output_names=["logits"],
                dynamic_axes={name: {0: "n"} for name in names},
                opset_version=OPSET,
                dynamo=False,
            )
        except (RuntimeError, TypeError, ValueError) as error:  # OnnxExporterError among them
            why = str(error).strip().splitlines()[0]
            what = f"{card.model} cannot be exported ({why})"
            raise ModelError(what, card.name, "use the weights themselves") from error


def _write_card(path: Path, card: ModelCard) -> None:
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {CARD_KEY: card.to_json()})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _max_difference(
    network: nn.Module, card: ModelCard, path: Path, traced: dict[str, Tensor]
) -> float:
    """The largest difference of a logit, over faces in a batch and, the last of them, alone."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = 0.0
    for rows in (slice(None), slice(FACES - 1, FACES)):
        inputs = {name: value[rows].flip(-1) for name, value in traced.items()}
        (ours,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        with torch.inference_mode():
            theirs = network(*inputs.values()).numpy()
        found = max(found, float(np.abs(ours - theirs).max()))
    return found
