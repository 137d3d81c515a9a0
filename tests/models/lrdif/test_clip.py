"""A tiny random CLIP, saved as transformers saves one, mounts where our own encoders stand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.crops import Crops
from models.emotions import EMOTIONS
from models.errors import ModelError
from models.loading import build_network, load_classifier
from models.lrdif import clip
from models.lrdif.classifier import LRDifClassifier
from models.lrdif.clip import ClipEncoders
from models.lrdif.network import LRDif, LRDifWithLabel
from models.weights import ModelCard, read_state, save

transformers: Any = pytest.importorskip("transformers", reason="install undercam[clip]")
MakeCard = Callable[..., ModelCard]
FEATURES, START, END = 24, "<|startoftext|>", "<|endoftext|>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a CLIP for images of 32 pixels that spells every word."""
    path = tmp_path_factory.mktemp("clip")
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), START, END]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (path / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (path / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(path, local_files_only=True)
    tokenizer.save_pretrained(path)
    sizes = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "projection_dim": FEATURES,
    }  # fmt: skip
    text = {"vocab_size": len(tokens), "max_position_embeddings": 77,
            "bos_token_id": vocabulary[START], "eos_token_id": vocabulary[END]}  # fmt: skip
    config = transformers.CLIPConfig(
        text_config=sizes | text,
        vision_config=sizes | {"image_size": 32, "patch_size": 8},
        projection_dim=FEATURES,
    )
    torch.manual_seed(0)
    model = transformers.CLIPModel(config)
    with torch.no_grad():
        for value in model.parameters():
            value.normal_(std=0.5)
    model.save_pretrained(path)
    return path


@pytest.fixture(autouse=True)
def encoders_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERCAM_ENCODERS", f"/no/such/folder:{folder.parent}")


def faces(n: int = 3, channels: int = 1, px: int = 16) -> Tensor:
    return torch.randn(n, channels, px, px, generator=torch.Generator().manual_seed(1))


def test_faces_are_encoded_as_clip_would(folder: Path) -> None:
    """Against transformers' own preparation of an 8-bit image of CLIP's size."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
    found = ClipEncoders(folder.name).image(x)
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    mean, std = (np.array(value, np.float32) for value in (clip.CLIP_MEAN, clip.CLIP_STD))
    prepared = torch.from_numpy((images.astype(np.float32) / 255 - mean) / std)
    with torch.no_grad():
        vision = model.vision_model(pixel_values=prepared.permute(0, 3, 1, 2))
        wanted = model.visual_projection(vision.pooler_output)
    torch.testing.assert_close(found, wanted / wanted.norm(dim=1, keepdim=True), atol=1e-5, rtol=0)
    assert (found[0] - found[1]).abs().max() > 1e-3
    assert not found.requires_grad


def test_mean_and_std_are_those_of_clip() -> None:
    theirs = transformers.image_utils
    assert list(clip.CLIP_MEAN) == pytest.approx(theirs.OPENAI_CLIP_MEAN)
    assert list(clip.CLIP_STD) == pytest.approx(theirs.OPENAI_CLIP_STD)


def test_grey_faces_of_any_size(folder: Path) -> None:
    encoders = ClipEncoders(folder.name)
    grey = faces(px=48)
    assert encoders.image(grey).shape == (3, FEATURES)
    torch.testing.assert_close(encoders.image(grey), encoders.image(grey.expand(-1, 3, -1, -1)))


def test_enlarging_makes_nothing_darker_than_black(folder: Path) -> None:
    """Cubic enlarging overshoots at hard edges; an 8-bit image could not."""
    stripes = torch.arange(16).div(2, rounding_mode="floor").remainder(2).float()
    black_and_white = stripes.expand(1, 1, 16, 16)
    enlarged = functional.interpolate(black_and_white, (32, 32), mode="bicubic", antialias=True)
    assert enlarged.min() < -0.01
    encoders = ClipEncoders(folder.name)
    found, wanted = (
        encoders.image((image - 0.5) / 0.25) for image in (black_and_white, enlarged.clamp(0, 1))
    )
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


def test_labels_are_encoded_by_their_prompts(folder: Path) -> None:
    labels = ("fear", "happiness")
    encoders = ClipEncoders(folder.name, labels)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    each = []
    for prompt in ("a photo of a fear face", "a photo of a happiness face"):
        tokens = tokenizer([prompt], return_tensors="pt")  # alone: nothing is padded
        assert len(tokens["input_ids"][0]) == 2 + len(prompt.replace(" ", ""))
        with torch.no_grad():
            each.append(model.text_projection(model.text_model(**tokens).pooler_output)[0])
    table = torch.stack([vector / vector.norm() for vector in each])
    torch.testing.assert_close(encoders.label(torch.eye(2)), table, atol=1e-5, rtol=0)
    votes = torch.tensor([[0.25, 0.75]])
    torch.testing.assert_close(encoders.label(votes), votes @ table, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="encoders made without labels"):
        ClipEncoders(folder.name).label(votes)


def test_clip_takes_the_place_of_both_encoders(folder: Path, small: dict[str, Any]) -> None:
    torch.manual_seed(0)
    settings = small | {"clip": folder.name}
    x, shares = faces(), torch.eye(8)[:3]
    first, second = LRDifWithLabel(EMOTIONS, **settings), LRDif(8, **settings)
    own = ClipEncoders(folder.name, EMOTIONS)
    torch.testing.assert_close(first.encoder(x), own.image(x))
    torch.testing.assert_close(first.label(shares), own.label(shares))
    torch.testing.assert_close(second.encoder(x), own.image(x))
    assert first(x, shares).shape == second(x, torch.randn(3, 12)).shape == (3, 8)


def test_clip_stays_out_of_the_state_and_never_moves(folder: Path, small: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = LRDif(8, **(small | {"clip": folder.name}))
    parts = {name.partition(".")[0] for name in network.state_dict()}
    assert parts == {"restorer", "former"}
    assert {name.partition(".")[0] for name, _ in network.named_parameters()} == parts
    assert network.clip is not None
    before = network.clip.image(faces())
    network.train()(faces(), torch.randn(3, 12)).sum().backward()
    assert torch.equal(network.clip.image(faces()), before)
    assert all(not value.requires_grad for value in network.clip._vision.parameters())
    assert not network.clip._vision.training


def test_weights_name_their_clip(
    folder: Path, tmp_path: Path, small_card: MakeCard, crops: Crops
) -> None:
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    card = replace(small_card(clip=folder.name), encoders={folder.name: digest})
    path = tmp_path / "w.safetensors"
    torch.manual_seed(0)
    save(path, card, build_network(card).state_dict())
    assert not any(name.startswith(("encoder", "clip")) for name in read_state(path))
    loaded = load_classifier(str(path))
    assert loaded.card.encoders == {loaded.card.network["clip"]: digest}
    assert str(folder.parent) not in loaded.card.to_json()
    assert loaded.predict(crops, np.arange(5)).probabilities.shape == (5, 8)


def test_another_clip_of_the_same_name_is_refused(
    folder: Path, tmp_path: Path, small_card: MakeCard
) -> None:
    card = replace(small_card(clip=folder.name), encoders={folder.name: "0" * 64})
    save(tmp_path / "w", card, build_network(card).state_dict())
    with pytest.raises(ModelError, match=f"another encoder.*: fetch {folder.name} again"):
        load_classifier(str(tmp_path / "w"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: None, "no such encoder: nowhere: set UNDERCAM_ENCODERS"),
        (lambda folder: folder.mkdir(), "unreadable CLIP"),
        (lambda folder: _copy(folder, ".json", ".txt"), "unreadable CLIP"),
        (lambda folder: _copy(folder, ".json", ".txt", ".bin"), "unreadable CLIP"),
    ],
    ids=["missing", "empty", "no weights", "pickle"],
)
def test_a_clip_that_cannot_be_opened(
    folder: Path,
    tmp_path: Path,
    small_card: MakeCard,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path], None],
    said: str,
) -> None:
    monkeypatch.setenv("UNDERCAM_ENCODERS", str(tmp_path))
    _copy.source = folder  # type: ignore[attr-defined]
    spoil(tmp_path / "nowhere")
    with pytest.raises(ModelError, match=said):
        build_network(small_card(clip="nowhere"))


def _copy(folder: Path, *suffixes: str) -> None:
    """Some files of the CLIP; its weights, if asked for, as pickle alone."""
    folder.mkdir()
    source: Path = _copy.source  # type: ignore[attr-defined]
    for path in source.iterdir():
        if path.suffix in suffixes:
            (folder / path.name).write_bytes(path.read_bytes())
    if ".bin" in suffixes:
        model = transformers.CLIPModel.from_pretrained(source)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")


def test_without_transformers(
    folder: Path, small_card: MakeCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(clip, "import_module", missing)
    with pytest.raises(ModelError, match=r"no transformers: .*: pip install 'undercam\[clip\]'"):
        build_network(small_card(clip=folder.name))


def test_an_input_that_clip_would_misread(folder: Path, small_card: MakeCard) -> None:
    card = small_card(clip=folder.name)
    network: Any = build_network(card)
    other = ModelCard(**(card.__dict__ | {"mean": (0.0,), "std": (1.0,)}))
    with pytest.raises(
        ModelError, match=r"CLIP behind an input of mean \(0.0,\) and std \(1.0,\): tiny"
    ):
        LRDifClassifier(network, other)
