"""Opens a detector by its name; a vendor's library is imported only for its own detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.detectors.base import FaceDetector
from models.errors import ModelError

PLACES = {
    "scrfd": ("insightface/models/scrfd_500m/*.onnx", "insightface/models/*/scrfd_*.onnx"),
    "yunet": ("yunet/yunet_n_640_640.onnx", "yunet*.onnx"),
}
"""Patterns of the network's file below each folder that is searched."""
THRESHOLDS = {"centerface": 0.2, "scrfd": 0.3, "yunet": 0.5}
"""Least scores at which each finds most and still calls no noise a face (docs/LOG.md)."""


def open_detector(
    name: str,
    model: str = "",
    frame_px: int = 448,
    threshold: float | None = None,
    second_scale: bool = True,
    threads: int = 0,
    folders: Sequence[Path] = (),
) -> FaceDetector:
    """A detector by name: centerface, scrfd or yunet.

    `threshold` is the least score of a face, by default the detector's own in THRESHOLDS.
    `model` is the path of its network; without it, `folders` are looked through, then the
    detector's own source is asked. Raises ModelError: which network is missing, and how to get one.
    """
    if model and not Path(model).is_file():
        raise ModelError("no such network", model, f"give the path of {name}'s ONNX file")
    if threshold is None:
        threshold = THRESHOLDS.get(name, 0.0)
    path = Path(model) if model else _find_network(name, folders)
    if name == "centerface":
        from models.detectors.centerface import CenterFace

        return CenterFace(path, frame_px, threshold, second_scale, threads)
    if name == "scrfd":
        from models.detectors.scrfd import Scrfd

        return Scrfd(path, threshold, second_scale, threads)
    if name == "yunet":
        from models.detectors.yunet import YuNet

        if path is None:
            raise ModelError(
                "YuNet's network not found",
                "detector yunet",
                "give yunet_n_*.onnx with --detector-model, or use --detector centerface",
            )
        return YuNet(path, frame_px, threshold)
    raise ModelError("no such detector", name, "give centerface, scrfd or yunet")


def _find_network(name: str, folders: Sequence[Path]) -> Path | None:
    for folder in folders:
        for pattern in PLACES.get(name, ()):
            for path in sorted(folder.glob(pattern)):
                return path
    return None
