"""A trained network in onnxruntime: on a CPU, a face or two take two thirds of torch's time."""

from __future__ import annotations

import io
import warnings

import onnxruntime
import torch
from torch import Tensor, nn

from models.card import ModelCard
from models.detectors.base import session_options
from models.errors import ModelError
from models.registry import family_of
from models.serving import SoftmaxClassifier

OPSET = 18
TOLERANCE = 1e-3
"""Largest difference of a logit from torch's."""


def takes_onnx(card: ModelCard) -> bool:
    """Whether networks of this card take nothing but faces."""
    return family_of(card).classifier is SoftmaxClassifier and not card.network.get("clip")


class OnnxNetwork(nn.Module):
    """The same logits as the network that it was made of, which takes nothing but faces.

    On so many `threads`. Raises ModelError for a network that has no graph, or whose graph gives
    other logits.
    """

    def __init__(self, network: nn.Module, card: ModelCard, threads: int) -> None:
        super().__init__()
        sample = torch.linspace(-2, 2, 2 * card.channels * card.input_px**2)
        sample = sample.reshape(2, card.channels, card.input_px, card.input_px)
        try:
            graph = _trace(network.eval(), sample)
            self._session = onnxruntime.InferenceSession(
                graph, session_options(threads), providers=["CPUExecutionProvider"]
            )
        except (RuntimeError, TypeError, ValueError) as error:
            what = f"no graph of it ({str(error).strip().splitlines()[0]})"
            raise ModelError(what, card.name, "set the route's runtime = 'torch'") from error
        with torch.inference_mode():
            difference = float((self(sample) - network(sample)).abs().max())
        if not difference <= TOLERANCE:
            what = f"the graph's logits differ by {difference:.2g}"
            raise ModelError(what, card.name, "set the route's runtime = 'torch', and report it")

    def forward(self, x: Tensor) -> Tensor:
        """Faces (n, channels, px, px) float32 to logits (n, K)."""
        (logits,) = self._session.run(None, {"x": x.contiguous().numpy()})
        return torch.from_numpy(logits)


def _trace(network: nn.Module, sample: Tensor) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The tracing exporter is deprecated; the newer one needs a package more.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (sample,),
            file,  # type: ignore[arg-type] # the older exporter takes files too
            input_names=["x"],
            output_names=["logits"],
            dynamic_axes={"x": {0: "n"}, "logits": {0: "n"}},
            opset_version=OPSET,
            dynamo=False,
        )
    return file.getvalue()
