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
from safetensors.torch import save_file
from torch import nn

from models.errors import ModelError, UndercamError
from models.loading import build_network
from models.weights import CARD_KEY, ModelCard, State, read_card, read_state, restore, save
from tests.disk import full_disk

MakeCard = Callable[..., ModelCard]


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
        ({"version": 2, "surprise": 1}, "version 2, this code reads 1"),
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
        ({"std": "1"}, "std '1'"),
        ({"std": 1e-300}, "std"),
        ({"metrics": {"a": float("inf")}}, "the number inf"),
        ({"labels": ["fear"]}, r"labels \('fear',\)"),
        ({"labels": ["fear", "fear"]}, "labels"),
        ({"input_px": 0}, "input_px 0"),
        ({"input_px": "48"}, "input_px '48'"),
        ({"channels": 2}, "channels 2"),
        ({"mean": float("nan")}, "the number nan"),
        ({"std": 0.0}, "std 0.0"),
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


@given(changes=st.dictionaries(st.sampled_from(FIELDS), JSON, min_size=1, max_size=3))
def test_any_field_makes_a_card_or_is_refused(changes: dict[str, Any]) -> None:
    right = {"name": "a", "model": "resnet18", "network": {"width": 4}, "labels": ["a", "b"]}
    right |= {"input_px": 48, "channels": 1, "mean": 0.5, "std": 0.5, "crop": "c", "version": 1}
    right |= {"data": "", "data_terms": ""}
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
