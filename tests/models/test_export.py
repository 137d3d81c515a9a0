"""What is exported answers as torch does, in any batch, and says what it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from models import export as exporting
from models.crops import Crops
from models.errors import ModelError
from models.export import TOLERANCE, export, write
from models.loading import as_classifier, build_network
from models.lrdif.classifier import draw_noise
from models.lrdif.network import LRDif
from models.lrdif.trunk import ModulatedResNet
from models.model_input import to_model_input
from models.serving import SoftmaxClassifier
from models.weights import CARD_KEY, ModelCard, save

MakeCard = Callable[..., ModelCard]
SMALL: dict[str, Any] = {"prior": 12, "input_px": 16, "widths": [8, 16, 32], "width": 16}
CARDS: dict[str, dict[str, Any]] = {
    "resnet18": {"model": "resnet18", "network": {"width": 8, "stem_stride": 2}},
    "poster": {"model": "poster", "network": SMALL | {"prior": 0}, "input_px": 16},
    "lrdif": {"model": "lrdif", "network": SMALL, "input_px": 16},
    "lrdif, noise inserted": {
        "model": "lrdif", "network": SMALL | {"insert_noise": True}, "input_px": 16,
    },
    "lrdif, no diffusion": {
        "model": "lrdif", "network": SMALL | {"restorer": "mlp"}, "input_px": 16,
    },
    "lrdif, trunk": {
        "model": "lrdif", "network": {"trunk": 8, "prior": 12, "input_px": 16}, "input_px": 16,
    },
}  # fmt: skip
CARDS["poster"]["network"].pop("prior")


def stirred(card: ModelCard) -> nn.Module:
    """A network whose statistics and answers are far from their start, and hang on its noise."""
    torch.manual_seed(0)
    network = build_network(card)
    with torch.no_grad():
        for _ in range(4):
            x = 2 * torch.randn(16, card.channels, card.input_px, card.input_px)
            network(x, *([torch.randn(16, 12)] if isinstance(network, LRDif) else []))
        if isinstance(network, LRDif) and isinstance(network.former, ModulatedResNet):
            network.trust.fill_(0.7)
            for film in network.former.films:
                film.weight.normal_(std=0.3)  # type: ignore[operator, union-attr]
        for name, value in network.named_parameters():
            if any(part in name for part in ("scale", "shift", "head", "denoiser")):
                value.mul_(3)
    return network.eval()


def asked(path: Path, **inputs: torch.Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {name: x.numpy() for name, x in inputs.items()})
    return np.asarray(logits)


@pytest.mark.parametrize("what", CARDS)
def test_it_answers_as_the_classifier_does(
    what: str, make_card: MakeCard, crops: Crops, tmp_path: Path
) -> None:
    card = make_card(**CARDS[what])
    network, out = stirred(card), tmp_path / "new" / "w.onnx"
    assert write(network, card, out) <= TOLERANCE
    classifier = as_classifier(network, card, flip=False)
    assert isinstance(classifier, SoftmaxClassifier)
    x, ids = to_model_input(crops, card), np.arange(5)
    inputs = {"x": x}
    if what in ("lrdif", "lrdif, noise inserted", "lrdif, trunk"):
        count = 4 if "inserted" in what else 1
        drawn = [draw_noise(int(face), 0, count, 12) for face in ids]
        inputs["noise"] = torch.from_numpy(np.stack(drawn))
    with torch.inference_mode():
        wanted = classifier.logits(x, ids).numpy()
    together = asked(out, **inputs)
    np.testing.assert_allclose(together, wanted, atol=TOLERANCE)
    assert np.ptp(wanted, axis=0).max() > 100 * TOLERANCE  # faces differ
    for row in (0, 4):
        alone = asked(out, **{name: value[row : row + 1] for name, value in inputs.items()})
        np.testing.assert_allclose(alone, wanted[row : row + 1], atol=TOLERANCE)
    if "noise" in inputs:
        other = asked(out, x=x, noise=-inputs["noise"])
        assert abs(other - together).max() > 100 * TOLERANCE


def test_it_carries_its_card(make_card: MakeCard, tmp_path: Path) -> None:
    card = make_card(temperature=1.5)
    weights = tmp_path / "w.safetensors"
    save(weights, card, build_network(card).state_dict())
    assert export(str(weights), tmp_path / "w.onnx") <= TOLERANCE
    model = onnx.load(str(tmp_path / "w.onnx"))
    onnx.checker.check_model(model, full_check=True)
    told = {one.key: one.value for one in model.metadata_props}
    assert ModelCard.from_json(told[CARD_KEY]) == card
    assert [one.name for one in model.graph.input] == ["x"]
    assert {path.name for path in tmp_path.iterdir()} == {"w.safetensors", "w.onnx"}


def test_a_graph_that_answers_otherwise_is_not_left_there(
    make_card: MakeCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights change between tracing and asking."""
    network = stirred(make_card())
    write_card = exporting._write_card

    def disturb(path: Path, card: ModelCard) -> None:
        write_card(path, card)
        with torch.no_grad():
            network.get_parameter("head.bias").add_(0.01)

    monkeypatch.setattr(exporting, "_write_card", disturb)
    with pytest.raises(ModelError, match=r"the graph's logits differ by 0\.01: tiny"):
        write(network, make_card(), tmp_path / "w.onnx")
    assert list(tmp_path.iterdir()) == []


class Unheard(nn.Module):
    """Does what no graph can."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvals(x[..., :8, :8]).real[:, 0]


def test_what_cannot_be_exported_says_so(make_card: MakeCard, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="resnet18 cannot be exported .*: tiny: use the weights"):
        write(Unheard(), make_card(), tmp_path / "w.onnx")
    assert list(tmp_path.iterdir()) == []


def test_clip_is_not_part_of_the_weights(make_card: MakeCard, tmp_path: Path) -> None:
    network = LRDif(8, **SMALL)
    network.clip = nn.Identity()  # type: ignore[assignment]
    with pytest.raises(ModelError, match="CLIP is not part of the weights: tiny: export weights"):
        write(network, make_card(**CARDS["lrdif"]), tmp_path / "w.onnx")
