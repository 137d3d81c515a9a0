"""A network in onnxruntime gives torch's logits, in any batch, for those that can be run there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.crops import Crops
from models.errors import ModelError
from models.loading import load_classifier
from models.onnx_network import OnnxNetwork
from models.weights import ModelCard


@pytest.mark.parametrize("flip", [True, False, "uncertain"])
def test_the_same_probabilities_as_in_torch(crops: Crops, flip: bool | str) -> None:
    here, there = (
        load_classifier("resnet18-w32", runtime=runtime, flip=flip) for runtime in ("torch", "onnx")
    )
    assert isinstance(there._network, OnnxNetwork)  # type: ignore[attr-defined]
    assert here.mode == there.mode
    wanted = here.predict(crops).probabilities
    np.testing.assert_allclose(there.predict(crops).probabilities, wanted, atol=1e-4)
    one = np.concatenate([there.predict(crop[None]).probabilities for crop in crops])
    np.testing.assert_allclose(one, wanted, atol=1e-4)


def test_what_draws_at_random_or_is_no_float32_runs_in_torch() -> None:
    for name, options in (("lrdif", {}), ("resnet18-w32", {"dtype": torch.bfloat16})):
        if options and not torch.backends.mkldnn.is_available():
            continue
        from models.loading import _takes_onnx, load_network

        assert not _takes_onnx(load_network(name)[1], options)


class Changes(nn.Module):
    """Gives other logits each time: no graph can be right."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3)) + torch.rand(1).item()


def test_other_logits_are_refused(make_card: Callable[..., ModelCard]) -> None:
    with pytest.raises(ModelError, match=r"logits differ by .*: set the route's runtime = 'torch'"):
        OnnxNetwork(Changes(), make_card(), 1)
