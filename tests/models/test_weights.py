"""Weights come back as they were written, and nothing but our own files is read."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from models.card import RELEASE
from models.errors import ModelError, UndercamError
from models.loading import ZOO, build_network
from models.weights import CARD_KEY, ModelCard, State, read_card, read_state, restore, save
from tests.disk import full_disk

MakeCard = Callable[..., ModelCard]
FIGURES = {"recall": 1.0, "precision": None, "support": 3}
VERSION_1 = {
    "name": "old", "model": "resnet18", "network": {"width": 4}, "labels": ["fear", "anger"],
    "input_px": 48, "channels": 3, "mean": 0.5, "std": 0.25, "crop": "square-1.0",
    "data": "made", "data_terms": "none", "recipe": {"mean": 0.5}, "temperature": 1.5,
    "metrics": {"validation": {"accuracy": 0.75, "confusion": [[3, 1], [0, 0]]}},
    "git": "abc1234", "version": 1,
}  # fmt: skip
"""A card as every release before version 2 wrote it."""


def some_state() -> State:
    torch.manual_seed(3)
    return {
        "kernel": torch.randn(4, 3, 3, 3).contiguous(memory_format=torch.channels_last),
        "bias": torch.randn(4).double(),
        "steps": torch.tensor(2**40 + 1),
    }


@pytest.fixture
def file(tmp_path: Path, make_card: MakeCard) -> Path:
    path = tmp_path / "w.safetensors"
    save(path, make_card(), some_state())
    return path


def rewritten(path: Path, **changes: Any) -> Path:
    """The file again, with fields of its card changed, or removed where None."""
    fields = json.loads(read_card(path).to_json()) | changes
    kept = {name: value for name, value in fields.items() if value is not None}
    save_file(read_state(path), path, metadata={CARD_KEY: json.dumps(kept)})
    return path


def test_all_comes_back(tmp_path: Path, make_card: MakeCard) -> None:
    card = make_card(
        temperature=1.25,
        metrics={"public": {"accuracy": 0.5, "confusion": [[1, 2], [3, 4]]}},
        recipe={"stages": [{"resolution": [[0.0, 32]]}], "note": "Zürich"},
        git="abc1234",
        channels=3,
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.25, 0.3),
        encoders={"dlib-face": "0123456789abcdef" * 4},
        per_class={"fear": {"recall": 0.5, "precision": None, "support": 2}},
        macro_f1=0.25,
    )
    state = some_state()
    path = tmp_path / "new" / "w.safetensors"
    save(path, card, state)
    assert read_card(path) == card
    found = read_state(str(path))
    assert found.keys() == state.keys()
    for name in ("kernel", "bias"):
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name], state[name].half().float())
    assert torch.equal(found["steps"], state["steps"])
    assert [p.name for p in path.parent.iterdir()] == ["w.safetensors"]


def write_text(path: Path, text: str) -> Path:
    save_file({"x": torch.zeros(1)}, path, metadata={CARD_KEY: text})
    return path


def test_a_card_of_version_1_is_lifted(tmp_path: Path) -> None:
    card = read_card(write_text(tmp_path / "w", json.dumps(VERSION_1)))
    assert (card.version, card.mean, card.std) == (2, (0.5,) * 3, (0.25,) * 3)
    assert (card.encoders, card.git, card.temperature) == ({}, "abc1234", 1.5)
    assert card.recipe == {"mean": 0.5}
    assert card.per_class == {
        "fear": {"recall": 0.75, "precision": 1.0, "support": 4},
        "anger": {"recall": None, "precision": 0.0, "support": 0},
    }
    assert card.macro_f1 == pytest.approx(6 / 7, abs=1e-5)  # 2 tp / (2 tp + fp + fn) of fear alone
    written = json.loads(card.to_json())
    assert (written["version"], written["release"]) == (2, RELEASE)
    assert ModelCard.from_json(card.to_json()) == card


@pytest.mark.parametrize("confusion", [None, [[1, 2]], [[1, 2], [3, -1]], [[1, 2], "34"], 7])
def test_a_card_of_version_1_without_usable_counts(tmp_path: Path, confusion: object) -> None:
    text = json.dumps(VERSION_1 | {"metrics": {"validation": {"confusion": confusion}}})
    card = read_card(write_text(tmp_path / "w", text))
    assert (card.per_class, card.macro_f1) == ({}, None)


@pytest.mark.parametrize(
    "path", ["/models/clip-vit", "C:\\models\\clip-vit", "clip-vit/", "clip-vit"]
)
def test_version_1_named_clip_by_its_folder(tmp_path: Path, path: str) -> None:
    text = json.dumps(VERSION_1 | {"model": "lrdif", "network": {"clip": path}})
    card = read_card(write_text(tmp_path / "w", text))
    assert card.network == {"clip": "clip-vit"}
    assert path not in card.to_json() or path == "clip-vit"


@pytest.mark.parametrize(("channels", "spoilt"), [(3, [0.5] * 3), (3, None), (2, 0.5), ("3", 0.5)])
def test_a_damaged_card_of_version_1(tmp_path: Path, channels: object, spoilt: object) -> None:
    text = json.dumps(VERSION_1 | {"channels": channels, "mean": spoilt})
    with pytest.raises(ModelError, match="unreadable card"):
        read_card(write_text(tmp_path / "w", text))


@pytest.mark.parametrize(
    ("release", "reader"),
    [("0.7.0", "0.7.0 or later"), ("1.2", "1.2 or later"), (None, "a later release"),
     ("rm -rf\x1b[31m", "a later release"), (3, "a later release")],
)  # fmt: skip
def test_a_later_version_says_which_release_reads_it(
    tmp_path: Path, release: object, reader: str
) -> None:
    path = write_text(tmp_path / "w", json.dumps({"version": 3, "release": release, "new": {}}))
    with pytest.raises(ModelError) as refused:
        read_card(path)
    assert str(refused.value) == (
        f"card of version 3, this release reads 1 to 2: {path}: read it with Undercam {reader}"
    )


VERSION_2 = ("emodc", "noise-resnet18-w36", "resnet18-w36-udc-real")


@pytest.mark.parametrize("path", sorted(ZOO.glob("*.safetensors")), ids=lambda path: path.stem)
def test_the_shipped_cards_are_read(path: Path) -> None:
    """The older ones are version 1, with one mean for all channels."""
    with safe_open(path, framework="pt") as file:
        stored = json.loads(file.metadata()[CARD_KEY])
    card = read_card(path)
    assert stored["version"] == (2 if path.stem in VERSION_2 else 1)
    values = stored["mean"], stored["std"]
    if stored["version"] == 1:
        values = (values[0],), (values[1],)
    assert (card.mean, card.std) == tuple(tuple(value) for value in values)
    (measured, *_) = [t for t in card.metrics.values() if "confusion" in t]
    assert sum(row["support"] or 0 for row in card.per_class.values()) == measured["n"]
    assert {name: row["recall"] for name, row in card.per_class.items()} == measured["recall"]
    assert card.macro_f1 == measured["macro_f1"]
    kept = {name: value for name, value in stored.items() if name not in ("mean", "std", "version")}
    assert json.loads(card.to_json()) | kept == json.loads(card.to_json())


def test_floats_take_two_bytes(tmp_path: Path, make_card: MakeCard) -> None:
    save(tmp_path / "w", make_card(), {"x": torch.zeros(100_000)})
    assert 200_000 <= (tmp_path / "w").stat().st_size < 203_000


def test_nothing_is_unpickled(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("unpickled")

    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads")):
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(pickle, "Unpickler", refuse)
    assert read_card(file).name == "tiny"
    assert len(read_state(file)) == 3


class Trap:
    """Unpickling it would create a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    path, trace = tmp_path / "w.safetensors", tmp_path / "sprung"
    torch.save({"w": Trap(trace)}, path)
    with pytest.raises(ModelError, match=r"damaged weights or not safetensors: .*w\.safetensors"):
        read_card(path)
    assert not trace.exists()


def test_a_missing_file(tmp_path: Path) -> None:
    for read in (read_card, read_state):
        with pytest.raises(ModelError, match="no such weights: .*gone"):
            read(tmp_path / "gone")
        with pytest.raises(ModelError, match="no such weights"):
            read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 64, b"PK\x03\x04" * 20])
def test_another_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(ModelError, match="damaged weights or not safetensors"):
        read_card(tmp_path / "w")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_truncated_file(file: Path, share: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    for read in (read_card, read_state):
        with pytest.raises(ModelError, match="damaged weights"):
            read(file)


def test_no_card(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "w")
    with pytest.raises(ModelError, match="weights without a card: .*undercam train"):
        read_card(tmp_path / "w")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 0}, "version 0, this release reads 1 to 2"),
        ({"version": None}, "version"),
        ({"x" * 5000: 1}, r"unexpected keyword argument 'x+\.\.\."),
        ({"surprise": 1}, "unexpected keyword argument 'surprise'"),
        ({"crop": None}, "missing 1 required positional argument: 'crop'"),
        ({"labels": None}, "labels"),
        ({"labels": 5}, "labels: no list"),
        ({"labels": "fear"}, "labels: no list"),
        ({"labels": ["fear", 5]}, "labels"),
        ({"labels": ["fear", "a\nb"]}, "labels"),
        ({"labels": [str(n) for n in range(101)]}, "labels"),
        ({"name": ["x"]}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"git": "a\x1b[31m"}, "git"),
        ({"metrics": []}, r"metrics \[\]"),
        ({"recipe": 3}, "recipe 3"),
        ({"network": 3}, "network 3"),
        ({"network": {"width": 20_000}}, "network"),
        ({"network": {"width": 1e9}}, "network"),
        ({"network": {"widths": [1] * 65}}, "network"),
        ({"network": {"width": {"a": 1}}}, "network"),
        ({"input_px": 1e6}, "input_px 1000000.0"),
        ({"input_px": 1025}, "input_px 1025"),
        ({"input_px": True}, "input_px True"),
        ({"input_px": 48.0}, "input_px 48.0"),
        ({"channels": 1.0}, "channels 1.0"),
        ({"mean": 10**400}, "more than 64 bits"),
        ({"mean": 0.5}, "mean: no list"),
        ({"mean": []}, r"mean \(\)"),
        ({"mean": [0.5, 0.5]}, r"mean \(0.5, 0.5\)"),
        ({"std": [0.0]}, r"std \(0.0,\)"),
        ({"release": 3}, "release: no text"),
        ({"network": {"clip": "models/clip-vit"}}, "network"),
        ({"network": {"clip": "a\\\\b"}}, "network"),
        ({"encoders": {"clip": "ab"}}, "encoders"),
        ({"encoders": {"clip": "A" * 64}}, "encoders"),
        ({"encoders": {"a/clip": "a" * 64}}, "encoders"),
        ({"encoders": {str(n): "a" * 64 for n in range(17)}}, "encoders"),
        ({"encoders": []}, "encoders"),
        ({"per_class": {"joy": FIGURES}}, "per_class"),
        ({"per_class": {"fear": FIGURES | {"recall": 1.1}}}, "per_class"),
        ({"per_class": {"fear": FIGURES | {"support": 1.5}}}, "per_class"),
        ({"per_class": {"fear": FIGURES | {"support": 10**12}}}, "per_class"),
        ({"per_class": {"fear": {"recall": 1.0}}}, "per_class"),
        ({"per_class": {"fear": FIGURES | {"more": 1}}}, "per_class"),
        ({"macro_f1": 2.0}, "macro_f1 2.0"),
        ({"macro_f1": True}, "macro_f1 True"),
        ({"std": "1"}, "std: no list"),
        ({"std": [1e-300]}, "std"),
        ({"metrics": {"a": float("inf")}}, "the number inf"),
        ({"labels": ["fear"]}, r"labels \('fear',\)"),
        ({"labels": ["fear", "fear"]}, "labels"),
        ({"input_px": 0}, "input_px 0"),
        ({"input_px": "48"}, "input_px '48'"),
        ({"channels": 2}, "channels 2"),
        ({"mean": [float("nan")]}, "the number nan"),
        ({"std": [True]}, r"std \(True,\)"),
        ({"temperature": 0.0}, "temperature 0.0"),
        ({"temperature": float("nan")}, "the number nan"),
    ],
    ids=str,
)
def test_a_card_that_does_not_fit(file: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=rf"unreadable card \(.*{said}.*\): .*w\.safetensors"):
        read_card(rewritten(file, **changes))


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "null", '"card"', "{}"])
def test_a_card_that_is_none(tmp_path: Path, text: str) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "w", metadata={CARD_KEY: text})
    with pytest.raises(ModelError, match="unreadable card"):
        read_card(tmp_path / "w")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"version": 1, "metrics": ' + "[" * 40 + "]" * 40 + "}",
        '"\\ud800"',
        "9" * 5000,
        '{"version": "' + "1" * 900_000 + '"}',
        " " * 1_000_001,
        "1e999",
    ],
    ids=["list", "object", "deep", "surrogate", "digits", "version", "long", "infinite"],
)
def test_odd_json(tmp_path: Path, text: str) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "w", metadata={CARD_KEY: text})
    with pytest.raises(ModelError, match="unreadable card") as refused:
        read_card(tmp_path / "w")
    assert len(str(refused.value)) < 500
    assert str(refused.value).isprintable()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["resnet18", "lrdif", "square-1.0", 48, 3, 10**400]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)
FIELDS = [field.name for field in dataclasses.fields(ModelCard)]


@given(text=JSON.map(json.dumps) | st.text())
@example(text="[" * 10_000)
def test_any_text_is_a_card_or_refused(text: str) -> None:
    with suppress(ValueError, TypeError, KeyError):
        ModelCard.from_json(text)


@given(
    changes=st.dictionaries(st.sampled_from(FIELDS), JSON, min_size=1, max_size=3),
    version=st.sampled_from([1, 2]),
)
def test_any_field_makes_a_card_or_is_refused(changes: dict[str, Any], version: int) -> None:
    right: dict[str, Any] = {
        "name": "a",
        "model": "resnet18",
        "network": {"width": 4},
        "labels": ["a", "b"],
    }
    right |= {
        "input_px": 48,
        "channels": 1,
        "mean": 0.5,
        "std": 0.5,
        "crop": "c",
        "version": version,
    }
    right |= {"data": "", "data_terms": ""}
    if version == 2:
        right |= {"mean": [0.5], "std": [0.5]}
    try:
        card = ModelCard.from_json(json.dumps(right | changes))
    except (ValueError, TypeError, KeyError):
        return
    assert ModelCard.from_json(card.to_json()) == card
    with torch.device("meta"), suppress(ModelError):
        build_network(card)


def test_tensors_of_another_network(file: Path) -> None:
    for network in (nn.Conv2d(3, 4, 3), nn.Linear(2, 2)):
        with pytest.raises(ModelError, match=f"another network.*fit {type(network).__name__}"):
            restore(network, read_state(file), file)


def test_what_is_stored_fits_its_network(tmp_path: Path, make_card: MakeCard) -> None:
    network, again = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    network(torch.randn(2, 3, 4, 4))
    save(tmp_path / "w", make_card(), network.state_dict())
    restore(again, read_state(tmp_path / "w"), tmp_path / "w")
    assert torch.equal(again.state_dict()["running_var"], network.running_var.half().float())
    assert again.state_dict()["num_batches_tracked"] == 1


def test_a_full_disk_leaves_the_old_file(file: Path, make_card: MakeCard) -> None:
    old = file.read_bytes()
    with full_disk(100), pytest.raises(UndercamError, match="cannot write"):
        save(file, make_card(name="newer"), some_state())
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert file.read_bytes() == old


@pytest.mark.parametrize("value", [1e5, float("inf"), float("nan")])
def test_what_float16_cannot_hold_is_not_written(
    file: Path, make_card: MakeCard, value: float
) -> None:
    old = file.read_bytes()
    with pytest.raises(ModelError, match="not a number of float16 in bias"):
        save(file, make_card(), some_state() | {"bias": torch.tensor([0.0, value])})
    assert file.read_bytes() == old
