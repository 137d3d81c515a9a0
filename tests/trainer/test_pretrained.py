"""A network starts from an encoder's weights, and learns from there at a rate of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.crops import GEOMETRY
from models.emodc.network import EmoDC
from models.emotions import BASIC_SEVEN, COMPOUND_EMOTIONS, EMOTIONS
from models.encoders.dlib_face import DlibFaceTrunk, find_file, read_trunk, to_grey_stem
from models.errors import ModelError
from models.loading import build_network, load_network
from models.weights import ModelCard
from trainer.data.faceset import FaceSet
from trainer.errors import DataError
from trainer.loop import train
from trainer.presets import find_preset
from trainer.pretrained import encoder_digests, load_encoder, load_matching
from trainer.recipes import Recipe

DLIB = find_preset("face-resnet", "dlib-24")


def card_of(recipe: Recipe) -> ModelCard:
    return ModelCard(
        *("made", recipe.model, recipe.network, EMOTIONS, recipe.input_px, recipe.channels),
        *((recipe.mean,) * recipe.channels, (recipe.std,) * recipe.channels),
        *(GEOMETRY, "made", "none"),
    )


def test_the_trunk_holds_dlibs_weights() -> None:
    card = card_of(DLIB)
    network = build_network(card)
    load_encoder(DLIB.encoder, network, card)
    expected = DlibFaceTrunk(1)
    expected.load_state_dict(to_grey_stem(read_trunk(find_file())[0], card.mean[0], card.std[0]))
    for name, value in expected.state_dict().items():
        assert torch.equal(network.get_submodule("trunk").state_dict()[name], value)


@pytest.mark.parametrize(
    ("name", "model", "channels"),
    [("no-such", "face-resnet", 1), ("dlib-face", "resnet18", 1), ("dlib-face", "face-resnet", 3)],
)
def test_what_does_not_fit_is_refused(name: str, model: str, channels: int) -> None:
    recipe = replace(DLIB, model=model, channels=channels, network={"channels": channels})
    card = card_of(recipe)
    with pytest.raises(DataError, match="no such encoder" if name == "no-such" else "no trunk"):
        load_encoder(name, build_network(card), card)


def test_a_card_names_its_encoders_by_what_they_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dlib = hashlib.sha256(find_file().read_bytes()).hexdigest()
    assert encoder_digests(DLIB) == {"dlib-face": dlib}
    assert encoder_digests(replace(DLIB, encoder="")) == {}
    for name, data in (("b.safetensors", b"second"), ("a.safetensors", b"first"), ("x", b"no")):
        (tmp_path / "clip-vit").mkdir(exist_ok=True)
        (tmp_path / "clip-vit" / name).write_bytes(data)
    with_clip = Recipe("lrdif", {"clip": "clip-vit"}, ())
    monkeypatch.delenv("UNDERCAM_ENCODERS", raising=False)
    with pytest.raises(ModelError, match="no such encoder: clip-vit: set UNDERCAM_ENCODERS"):
        encoder_digests(with_clip)
    monkeypatch.setenv("UNDERCAM_ENCODERS", str(tmp_path))
    assert encoder_digests(with_clip) == {"clip-vit": hashlib.sha256(b"firstsecond").hexdigest()}
    with pytest.raises(DataError, match="no such encoder 'no-such'"):
        encoder_digests(replace(DLIB, encoder="no-such"))


@pytest.mark.parametrize("scale", [0.0, 0.1])
def test_the_trunk_learns_at_its_own_rate(
    make_faces: Callable[..., FaceSet], tmp_path: Path, scale: float
) -> None:
    """Adam's first step moves every weight by its rate; at none the trunk stays as it was."""
    stage = replace(
        DLIB.stages[0],
        epochs=1,
        batch=16,
        lr_scale=(("trunk", scale),),
        resolution=((0.0, 64),),
        ema=0.0,
        optimizer="adam",
        schedule="constant",
        weight_decay=0.0,
    )
    recipe = replace(DLIB, stages=(stage,), input_px=64)
    card = card_of(recipe)
    start = build_network(card)
    load_encoder(recipe.encoder, start, card)
    state = train(recipe, card, make_faces(16), None, 0, tmp_path).state
    moved = {
        name: float((state[name] - value.detach()).abs().max())
        for name, value in start.named_parameters()
    }
    trunk = [far for name, far in moved.items() if name.startswith("trunk.")]
    assert max(trunk) == pytest.approx(scale * stage.lr, rel=1e-2)
    assert moved["norm.weight"] == pytest.approx(stage.lr, rel=1e-2)


@pytest.mark.parametrize(("model", "name"), [("resnet18", "w36-tune-udc"), ("lrdif", "twin-udc")])
def test_a_trunk_holds_the_zoos_weights(model: str, name: str) -> None:
    """Every ResNet-18 of the network; what the zoo's lacks keeps its start."""
    recipe = find_preset(model, name)
    card = card_of(recipe)
    torch.manual_seed(0)
    network = torch.nn.ModuleList([build_network(card), build_network(card)])
    load_encoder(recipe.encoder, network, card)
    expected = load_network("resnet18-w36-udc")[0].state_dict()
    for part in network:
        trunk = part if model == "resnet18" else part.get_submodule("former")
        for key, value in expected.items():
            assert torch.equal(trunk.state_dict()[key], value)
        added = trunk.state_dict().keys() - expected.keys()
        assert all(not trunk.state_dict()[key].any() for key in added)
        assert bool(added) == (model == "lrdif")


@pytest.mark.parametrize(
    ("model", "network"), [("resnet18", {"width": 32}), ("lrdif", {}), ("lrdif", {"trunk": 32})]
)
def test_a_trunk_of_another_width_is_refused(model: str, network: dict[str, int]) -> None:
    recipe = Recipe(model, network, ())
    card = card_of(recipe)
    with pytest.raises(DataError, match="has no trunk like that of resnet18-w36-udc"):
        load_encoder("resnet18-w36-udc", build_network(card), card)


@pytest.mark.parametrize("condition", ["ids", "text"])
def test_weights_of_basic_emotions_carry_over_to_compound_ones(condition: str) -> None:
    """All but what only the classes need: the encoder's own logits, the prior, the composition."""

    def make(labels: tuple[str, ...]) -> EmoDC:
        settings = {"condition": condition, "labels": labels, "width": 8}
        return EmoDC(len(labels), head="cond", **settings)  # type: ignore[arg-type]

    torch.manual_seed(0)
    basic, compound = make(BASIC_SEVEN), make(tuple(COMPOUND_EMOTIONS))
    torch.nn.init.normal_(basic.decoder.out.weight)
    start = {name: value.clone() for name, value in compound.state_dict().items()}
    load_matching(compound, basic.state_dict(), card_of(DLIB), "basic")
    kept = {"encoder.head.weight", "encoder.head.bias", "log_prior"}
    kept |= {f"descriptions.composition.linear.{name}" for name in ("weight", "bias")}
    for name, value in compound.state_dict().items():
        assert torch.equal(value, start[name] if name in kept else basic.state_dict()[name]), name
    x, sigma = torch.randn(1, 1, 16, 16), torch.tensor([0.1])
    none = torch.tensor([7]), torch.tensor([11])
    torch.testing.assert_close(
        basic.eval().predict_under(x, sigma, none[0]),
        compound.eval().predict_under(x, sigma, none[1]),
    )
    with pytest.raises(DataError, match="no trunk like that of basic"):
        load_matching(EmoDC(11, head="cond", width=12), basic.state_dict(), card_of(DLIB), "basic")


def test_a_trunk_serves_other_classes_but_for_its_logits() -> None:
    recipe = find_preset("emodc", "split")
    card = replace(card_of(recipe), labels=BASIC_SEVEN)
    network = build_network(card)
    assert isinstance(network, EmoDC)
    before = network.encoder.head.weight.clone()
    load_encoder("resnet18-w36", network, card)
    state = load_network("resnet18-w36")[0].state_dict()
    ours = network.encoder.state_dict()
    heads = {name for name in state if not torch.equal(ours[name], state[name])}
    assert heads == {"head.weight", "head.bias"}
    assert torch.equal(network.encoder.head.weight, before)
