"""Every detector opens by its name, agrees with the others, and says what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import requests
from insightface.utils import storage

from models.detectors.base import FaceDetector, Image
from models.detectors.centerface import find_bundled
from models.detectors.opening import open_detector
from models.errors import ModelError
from models.faces import LANDMARKS, iou

NAMES = ("scrfd", "yunet")
Open = Callable[[str], FaceDetector]


@pytest.fixture(scope="module")
def opened(data: Path) -> Open:
    detectors = {name: open_detector(name, folders=[data / "models"]) for name in NAMES}
    return detectors.__getitem__


def test_centerface_needs_nothing() -> None:
    assert open_detector("centerface").name == "centerface"


@pytest.mark.parametrize("name", NAMES)
def test_the_others_agree_with_centerface(opened: Open, photograph: Image, name: str) -> None:
    wanted = open_detector("centerface", threads=1).detect(photograph)
    faces = opened(name).detect(photograph)
    assert opened(name).name == name
    assert len(faces) == 1
    assert iou(faces.boxes, wanted.boxes)[0, 0] >= 0.5
    eyes_apart = np.linalg.norm(wanted.landmarks[0, 0] - wanted.landmarks[0, 1])
    apart = np.linalg.norm(faces.landmarks[0] - wanted.landmarks[0], axis=1) / eyes_apart
    assert dict(zip(LANDMARKS, apart, strict=True)) == dict.fromkeys(
        LANDMARKS, pytest.approx(0, abs=0.2)
    )


@pytest.mark.parametrize("name", NAMES)
def test_colours_are_not_swapped(opened: Open, photograph: Image, name: str) -> None:
    right, swapped = (opened(name).detect(photograph[:, :, ::step].copy()) for step in (1, -1))
    assert right.scores[0] > swapped.scores[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(480, 640, 3), (700, 300, 3), (1, 1, 3), (3, 900, 3)])
def test_nobody_on_a_blank_picture(opened: Open, name: str, shape: tuple[int, ...]) -> None:
    faces = opened(name).detect(np.full(shape, 90, np.uint8))
    assert len(faces) == 0
    assert faces.landmarks.shape == (0, 5, 2)


@pytest.mark.parametrize("name", NAMES)
def test_a_face_that_fills_the_picture(opened: Open, photograph: Image, name: str) -> None:
    close = np.ascontiguousarray(photograph[60:182, 179:272])
    faces = opened(name).detect(close)
    assert len(faces) == 1
    assert iou(faces.boxes, np.array([[0, 0, 93, 122]], np.float32))[0, 0] > 0.7


@pytest.mark.parametrize("name", NAMES)
def test_portrait_and_landscape_give_one_box(opened: Open, photograph: Image, name: str) -> None:
    whole = opened(name).detect(photograph)
    tall = opened(name).detect(np.ascontiguousarray(photograph[:, 100:351]))
    wide = opened(name).detect(np.ascontiguousarray(photograph[:300]))
    shift = np.array([100, 0, 100, 0], np.float32)
    assert iou(tall.boxes + shift, whole.boxes)[0, 0] > 0.75
    assert iou(wide.boxes, whole.boxes)[0, 0] > 0.75


def test_an_unknown_detector() -> None:
    with pytest.raises(ModelError, match="no such detector: haar: give centerface, scrfd or yunet"):
        open_detector("haar")


@pytest.mark.parametrize("name", ["centerface", *NAMES])
def test_a_missing_file(name: str) -> None:
    with pytest.raises(ModelError, match=f"no such network: gone.onnx: give the path of {name}'s"):
        open_detector(name, "gone.onnx")


def test_yunet_is_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"YuNet's network not found: .*--detector centerface"):
        open_detector("yunet", folders=[tmp_path])


@pytest.mark.parametrize("name", ["centerface", *NAMES])
@pytest.mark.parametrize("content", [b"", b"this is not a network", b"\x08\x07\xff\xff" * 50])
def test_a_file_that_is_no_network(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"(not|another) .*net\.onnx: give .*\.onnx"):
        open_detector(name, str(path))


@pytest.mark.parametrize("name", ["centerface", *NAMES])
def test_the_network_of_another_detector(data: Path, name: str) -> None:
    paths = {
        "centerface": find_bundled(),
        "scrfd": data / "models/insightface/models/scrfd_500m/scrfd_500m_kps.onnx",
        "yunet": data / "models/yunet/yunet_n_640_640.onnx",
    }
    for other in paths.keys() - {name}:
        with pytest.raises(ModelError, match=r"(not|another) .*: give .*\.onnx"):
            open_detector(name, str(paths[other]))


class Offline:
    """Stands for insightface's download where there is no network."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked = 0

    def __call__(self, url: str, path: str, overwrite: bool) -> None:
        self.asked += 1
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.ConnectionError("Name or service not known"),
        requests.exceptions.ReadTimeout("timed out"),
        RuntimeError("Failed downloading url"),
        PermissionError("read-only home"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_scrfd_without_a_network(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    offline = Offline(error)
    monkeypatch.setattr(storage, "download_file", offline)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ModelError, match=r"SCRFD's weights could not be downloaded: .*centerface"):
        open_detector("scrfd", folders=[tmp_path])
    assert offline.asked == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "non-commercial research only" in err


def test_a_download_that_is_no_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half_a_file(url: str, path: str, overwrite: bool) -> None:
        Path(path).parent.mkdir(parents=True)
        Path(path).write_bytes(b"PK\x03\x04 and then the line was cut")

    monkeypatch.setattr(storage, "download_file", half_a_file)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ModelError, match="could not be downloaded"):
        open_detector("scrfd")
    with pytest.raises(ModelError, match=r"no detector in the pack: .*buffalo_s: delete it"):
        open_detector("scrfd")
