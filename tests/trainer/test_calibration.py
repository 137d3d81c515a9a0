"""The temperature is found again, and lowers the cost of being sure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.loading import ZOO
from models.weights import ModelCard, read_card
from trainer import calibration
from trainer.calibration import HIGHEST, LOWEST, calibrate_temperature, fit_temperature
from trainer.data.faceset import FaceSet


def drawn(temperature: float, n: int = 20_000) -> tuple[Tensor, Tensor]:
    """Logits (n, 8), and labels drawn from their softmax at a temperature."""
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(n, 8, generator=generator)
    p = torch.softmax(logits / temperature, dim=1)
    return logits, torch.multinomial(p, 1, generator=generator)[:, 0]


@pytest.mark.parametrize("temperature", [0.3, 0.8, 1.0, 1.7, 4.0])
def test_a_known_temperature_is_found(temperature: float) -> None:
    assert fit_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.03)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_no_neighbour_is_better(temperature: float) -> None:
    logits, labels = drawn(temperature, n=500)
    found = fit_temperature(logits, labels)
    costs = [
        float(functional.cross_entropy(logits.double() / (found * near), labels))
        for near in (1.0, 0.999, 1.001, 1 / temperature)
    ]
    assert costs[0] == min(costs)


def test_never_wrong_is_as_sure_as_is_allowed() -> None:
    labels = torch.arange(8)
    assert fit_temperature(5 * torch.eye(8), labels) == pytest.approx(LOWEST)
    assert fit_temperature(-5 * torch.eye(8), labels) == pytest.approx(HIGHEST)


def test_logits_of_an_inference_will_do() -> None:
    logits, labels = drawn(2.0, n=200)
    with torch.inference_mode():
        inferred = logits * 1.0
    assert fit_temperature(inferred, labels) == fit_temperature(logits, labels)


def test_of_many_predictions_some_of_every_condition_are_enough(
    make_faces: Callable[..., FaceSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[NDArray[np.int64]] = []

    def spy(network: nn.Module, card: ModelCard, faces: FaceSet) -> Tensor:
        asked.append(faces.ids)
        return torch.randn(len(faces), 8, generator=torch.Generator().manual_seed(0))

    monkeypatch.setattr(calibration, "_logits", spy)
    monkeypatch.setattr(calibration, "ENOUGH", 60)
    faces = make_faces(60)
    card = read_card(ZOO / "resnet18-w36.safetensors")
    conditions = {"udc_t/1": faces, "udc_t/2": faces, "udc_p/1": faces}
    calibrate_temperature(nn.Identity(), card, conditions)
    assert [len(ids) for ids in asked] == [20, 20, 20]
    assert sorted(np.concatenate(asked)) == sorted(faces.ids)
    monkeypatch.setattr(calibration, "ENOUGH", 180)
    asked.clear()
    calibrate_temperature(nn.Identity(), card, conditions)
    assert [len(ids) for ids in asked] == [60, 60, 60]
