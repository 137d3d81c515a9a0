"""SCRFD (Guo et al. 2021, arXiv 2105.04714), through insightface.

Its weights are insightface's: for non-commercial research only, given as a file or downloaded.
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from insightface.model_zoo import get_model
from insightface.utils.storage import ensure_available
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidProtobuf

from models.detectors.base import Image, detect_at_scales, session_options
from models.errors import ModelError
from models.faces import Faces

INPUT_PX = 640
PACK = "buffalo_s"
LICENCE = "InsightFace's SCRFD weights are for non-commercial research only."


class Scrfd:
    """A `FaceDetector`; the network always sees 640 x 640 pixels.

    It misses a face that fills the image, so an image without a face is tried once more,
    half as large in the middle of that square.
    """

    name = "scrfd"

    def __init__(
        self,
        path: Path | None = None,
        threshold: float = 0.2,
        second_scale: bool = True,
        threads: int = 0,
    ) -> None:
        self._again_px = INPUT_PX // 2 if second_scale else 0
        path = path or download_network()
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                network = get_model(
                    str(path),
                    providers=["CPUExecutionProvider"],
                    sess_options=session_options(threads),
                )
            except (InvalidProtobuf, InvalidArgument, Fail, AssertionError) as error:
                raise ModelError("not an ONNX network", str(path), "give scrfd_*.onnx") from error
            if not getattr(network, "use_kps", False):
                raise ModelError(
                    "not an SCRFD with landmarks", str(path), "give scrfd_*_kps.onnx or det_*.onnx"
                )
            network.prepare(-1, input_size=(INPUT_PX, INPUT_PX), det_thresh=threshold)
        self._network = network

    def detect(self, image: Image) -> Faces:
        """Faces of an (h, w, 3) uint8 RGB image, in its pixels, best score first."""
        return detect_at_scales(image, INPUT_PX, self._again_px, self._detect)

    def _detect(self, small: Image) -> Faces:
        square = np.zeros((INPUT_PX, INPUT_PX, 3), np.uint8)
        top, left = (INPUT_PX - small.shape[0]) // 2, (INPUT_PX - small.shape[1]) // 2
        square[top : top + small.shape[0], left : left + small.shape[1]] = small
        rows, landmarks = self._network.detect(np.ascontiguousarray(square[:, :, ::-1]))
        order = np.argsort(-rows[:, 4], kind="stable")
        table = rows[order].astype(np.float32)
        points = landmarks[order].astype(np.float32)
        return Faces(table[:, :4], table[:, 4], points).transform(1, left, top)


def download_network() -> Path:
    """Download SCRFD in insightface's own pack, once, with a progress bar and its licence terms.

    Raises ModelError with the remedy where there is no network.
    """
    sys.stderr.write(LICENCE + "\n")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            folder = Path(ensure_available("models", PACK))
    except (OSError, RuntimeError, BadZipFile) as error:
        raise ModelError(
            "SCRFD's weights could not be downloaded",
            PACK,
            "give a file with --detector-model, or use --detector centerface, which needs none",
        ) from error
    found = sorted(folder.glob("**/det_*.onnx"))
    if not found:
        raise ModelError("no detector in the pack", str(folder), "delete it and try again")
    return found[0]
