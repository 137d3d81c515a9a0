"""Sheets and npz files: made ones are read back, damaged ones refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.emotions import BASIC_SEVEN, EMOTIONS
from trainer.data.readers import open_faces
from trainer.errors import DataError

N = 345  # the sixth tile of a second row


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", r"no such kind of data: : start it with ferplus:, .*npz:, folder: or shards:"),
        ("rafdb:/data", "no such kind of data: rafdb:/data"),
        ("ferplus:private", "no such split: ferplus:private: give one of training, public"),
        ("npz:gone.npz", "no such data file: gone.npz: check the path"),
        ("npz:", r"no such data file: \(nothing\)"),
        ("sheet:a.webp", "no such data file: a.webp"),
        ("folder:plain", r"no such folder: \(nothing\)"),
        ("folder:plain:", r"no such folder: \(nothing\)"),
        ("folder:plain:gone", "no such folder: gone"),
    ],
)
def test_an_address_that_leads_nowhere(address: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        open_faces(address)


def test_an_unknown_protocol() -> None:
    with pytest.raises(DataError, match="no such protocol: soft: give one of ms_majority, no_drop"):
        open_faces("ferplus:public", "soft")


def test_ferplus_not_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("UNDERCAM_DATA", raising=False)
    with pytest.raises(DataError, match="FER\\+ not available: ferplus:public: set UNDERCAM_DATA"):
        open_faces("ferplus:public")
    monkeypatch.setenv("UNDERCAM_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"no such data file: .*public_test\.webp"):
        open_faces("ferplus:public")


Arrays = dict[str, NDArray[Any]]
Sheet = Callable[..., str]


@pytest.fixture
def tiles() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (N, 48, 48), dtype=np.uint8)


@pytest.fixture
def sheet(tmp_path: Path, tiles: NDArray[np.uint8]) -> Sheet:
    """Writes a sheet of two rows and its labels; returns its address."""

    def write(suffix: str = "png", **changes: NDArray[Any] | None) -> str:
        whole = np.zeros((680, 48, 48), np.uint8)
        whole[:N] = tiles
        picture = whole.reshape(2, 340, 48, 48).swapaxes(1, 2).reshape(96, 340 * 48)
        lossless = [cv2.IMWRITE_WEBP_QUALITY, 101]
        assert cv2.imwrite(str(tmp_path / f"s.{suffix}"), picture, lossless)
        votes = np.zeros((N, 10), np.uint8)
        votes[np.arange(N), np.arange(N) % 8] = 10
        given = {"votes": votes, "row": np.arange(N) + 1000} | changes
        arrays: Any = {name: value for name, value in given.items() if value is not None}
        np.savez(tmp_path / "s.npz", **arrays)
        return f"sheet:{tmp_path / f's.{suffix}'},{tmp_path / 's.npz'}"

    return write


@pytest.mark.parametrize("suffix", ["webp", "png"])
def test_a_sheet_comes_back(sheet: Sheet, tiles: NDArray[np.uint8], suffix: str) -> None:
    seen = np.arange(N) % 3 == 0
    faces = open_faces(sheet(suffix, dup_of_earlier_split=seen))
    assert np.array_equal(faces.tiles, tiles)
    assert faces.labels.tolist() == [row % 8 for row in range(N)]
    assert faces.ids.tolist() == list(range(1000, 1000 + N))
    assert np.array_equal(faces.seen_in_training, seen)
    assert faces.labels.dtype == faces.ids.dtype == np.int64


def test_a_sheet_that_says_nothing_of_duplicates(sheet: Sheet) -> None:
    assert not open_faces(sheet()).seen_in_training.any()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"votes": None}, r"no array 'votes': .*s\.npz: it needs votes, row"),
        ({"row": None}, "no array 'row'"),
        ({"votes": np.zeros((N, 8), np.uint8)}, r"votes of shape \(345, 8\)"),
        ({"votes": np.zeros((N - 1, 10), np.uint8)}, r"votes of shape \(344, 10\)"),
        ({"votes": np.zeros((N, 10))}, r"give \(n, 10\) counts"),
        ({"dup_of_earlier_split": np.zeros(3, bool)}, r"s\.npz: give"),
        (
            {"votes": np.zeros((700, 10), np.uint8), "row": np.arange(700)},
            "680 tiles for 700 labels: .*: give a matching pair",
        ),
    ],
    ids=range(7),
)
def test_labels_that_do_not_fit_their_sheet(
    sheet: Sheet, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        open_faces(sheet(**changes))


@pytest.mark.parametrize(
    "content", [np.zeros((96, 100), np.uint8), np.zeros((95, 16320), np.uint8), None]
)
def test_another_picture(sheet: Sheet, content: NDArray[np.uint8] | None) -> None:
    address = sheet("png")
    path = address.removeprefix("sheet:").partition(",")[0]
    if content is None:
        Path(path).write_bytes(b"no picture")
    else:
        cv2.imwrite(path, content)
    with pytest.raises(DataError, match=r"not a sheet of tiles: .*s\.png: 340 tiles of 48 px"):
        open_faces(address)


def npz(folder: Path, **arrays: Any) -> str:
    np.savez(folder / "faces.npz", **arrays)
    return f"npz:{folder / 'faces.npz'}"


@pytest.mark.parametrize("shape", [(4, 48, 48), (4, 100, 80), (4, 64, 64, 3)])
def test_an_npz_comes_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    faces = open_faces(npz(tmp_path, image=image, label=np.array([0, 6, 2, 2], np.uint8)))
    assert np.array_equal(faces.tiles, image)
    assert faces.labels.tolist() == [0, 6, 2, 2]
    assert faces.classes == BASIC_SEVEN
    assert faces.targets.argmax(axis=1).tolist() == [0, 6, 2, 2]
    assert (faces.name, faces.protocol) == ("npz:faces.npz", "labels")


def test_the_classes_of_an_npz(tmp_path: Path) -> None:
    image = np.zeros((2, 8, 8), np.uint8)
    assert open_faces(npz(tmp_path, image=image, label=[0, 7])).classes == EMOTIONS
    own = npz(tmp_path, image=image, label=[0, 1], classes=["awe", "pain"])
    assert open_faces(own).classes == ("awe", "pain")


IMAGE = np.zeros((2, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"image": IMAGE}, r"no array 'label': .*faces\.npz: it needs image, label"),
        ({"label": [0, 1]}, "no array 'image'"),
        ({"image": IMAGE / 255, "label": [0, 1]}, r"unusable image array .* \(2, 8, 8\) float64"),
        ({"image": np.zeros((2, 64), np.uint8), "label": [0, 1]}, "unusable image array"),
        ({"image": np.zeros((2, 8, 8, 4), np.uint8), "label": [0, 1]}, "unusable image array"),
        ({"image": IMAGE, "label": [0, 1, 2]}, r"label of shape \(3,\)"),
        ({"image": IMAGE, "label": [[0], [1]]}, r"label of shape \(2, 1\)"),
        ({"image": IMAGE, "label": [0.0, 1.0]}, "label of shape .* of whole numbers"),
        ({"image": IMAGE, "label": ["fear", "anger"]}, "label of shape"),
        ({"image": IMAGE[:0], "label": np.zeros(0, int)}, "label of shape"),
        ({"image": IMAGE, "label": [0, 8]}, r"label out of range: .*: labels count 0\.\.7"),
        ({"image": IMAGE, "label": [-1, 0]}, r"label out of range: .*: labels count 0\.\.6"),
        ({"image": IMAGE, "label": [0, 2], "classes": ["a", "b"]}, r"labels count 0\.\.1"),
        ({"image": np.array([{"a": 1}, None]), "label": [0, 1]}, "not a readable npz file"),
    ],
    ids=range(14),
)
def test_an_npz_that_does_not_fit(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        open_faces(npz(tmp_path, **arrays))


class Trap:
    """Unpickling it would create a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_a_pickled_array_is_refused_and_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "sprung"
    trapped = np.array([Trap(trace)], object)
    with pytest.raises(DataError, match="not a readable npz file"):
        open_faces(npz(tmp_path, image=trapped, label=[0]))
    assert not trace.exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_a_truncated_npz(tmp_path: Path, share: float) -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 48, 48), dtype=np.uint8)
    np.savez_compressed(tmp_path / "faces.npz", image=image, label=np.zeros(50, int))
    content = (tmp_path / "faces.npz").read_bytes()
    (tmp_path / "faces.npz").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"not a readable npz file: .*faces\.npz: give a file of"):
        open_faces(f"npz:{tmp_path / 'faces.npz'}")


@pytest.mark.parametrize("at", [0.2, 0.5, 0.8])
def test_an_npz_with_a_damaged_member(tmp_path: Path, at: float) -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 48, 48), dtype=np.uint8)
    np.savez_compressed(tmp_path / "faces.npz", image=image, label=np.zeros(50, int))
    content = bytearray((tmp_path / "faces.npz").read_bytes())
    start = int(len(content) * at)
    content[start : start + 64] = bytes(64)
    (tmp_path / "faces.npz").write_bytes(content)
    with pytest.raises(DataError, match="not a readable npz file"):
        open_faces(f"npz:{tmp_path / 'faces.npz'}")


def test_an_npy_is_no_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "faces.npy", IMAGE)
    with pytest.raises(DataError, match="not a readable npz file"):
        open_faces(f"npz:{tmp_path / 'faces.npy'}")
