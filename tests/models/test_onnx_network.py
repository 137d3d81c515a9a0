"""A network in onnxruntime gives torch's logits, in any batch, for those that can be run there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.crops import Crops
from models.errors import ModelError
from models.loading import load_classifier
from models.onnx_network import OnnxNetwork
from models.weights import ModelCard
from pipeline.emotion_settings import RouteSettings
from pipeline.stages.classify import open_route


@pytest.mark.parametrize("flip", [True, False, "uncertain"])
def test_the_same_probabilities_as_in_torch(crops: Crops, flip: bool | str) -> None:
    here = load_classifier("resnet18-w32", flip=flip)
    there = load_classifier("resnet18-w32", partial(OnnxNetwork, threads=1), flip=flip)
    assert here.mode == there.mode
    wanted = here.predict(crops).probabilities
    np.testing.assert_allclose(there.predict(crops).probabilities, wanted, atol=1e-4)
    one = np.concatenate([there.predict(crop[None]).probabilities for crop in crops])
    np.testing.assert_allclose(one, wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "runs_there"),
    [
        ({}, True),
        ({"runtime": "torch"}, False),
        ({"weights": "lrdif", "degraded_weights": ""}, False),
    ],
)
def test_where_a_route_runs(settings: dict[str, str], runs_there: bool) -> None:
    route = open_route(RouteSettings.model_validate({"degraded_weights": "", **settings}))
    network = route._classifiers[""]._network  # type: ignore[attr-defined]
    assert isinstance(network, OnnxNetwork) is runs_there


class Changes(nn.Module):
    """Gives other logits each time: no graph can be right."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3)) + torch.rand(1).item()


def test_other_logits_are_refused(make_card: Callable[..., ModelCard]) -> None:
    with pytest.raises(ModelError, match=r"logits differ by .*: set the route's runtime = 'torch'"):
        OnnxNetwork(Changes(), make_card(), 1)
