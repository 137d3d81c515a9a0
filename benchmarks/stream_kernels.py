"""The bare kernels of live analysis, on one thread: what remains if everything else were free."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

REPEATS, MOST_FRAMES = 30, 100


def measure_kernels(scene: Path) -> dict[str, float]:
    """CPU milliseconds: `decode` of a frame, `whole` and `part`, the detector's network on a whole
    frame and on a mosaic of one cell, `classify`, the classifier's network on one face, and `flip`,
    with its flip."""
    import cv2

    from models.detectors.mosaic import CELL_PX
    from models.detectors.opening import open_detector
    from models.loading import load_network
    from pipeline.settings import DetectorSettings

    cv2.setNumThreads(1)
    settings = DetectorSettings()
    detector = open_detector(settings.name, threads=1)
    session, name = detector._session, detector._input  # type: ignore[attr-defined]
    rows = -(-settings.frame_px * 9 // 16 // 32) * 32

    def detect(height: int, width: int) -> Callable[[], object]:
        x = np.zeros((1, 3, height, width), np.float32)
        return lambda: session.run(None, {name: x})

    import torch

    torch.set_num_threads(1)
    network, card = load_network("resnet18-w36")
    from models.loading import fold_batch_norm

    network = fold_batch_norm(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def classify(faces: int) -> Callable[[], object]:
        x = torch.zeros(faces, card.channels, card.input_px, card.input_px)
        x = x.contiguous(memory_format=torch.channels_last)
        return lambda: network(x)

    with torch.inference_mode():
        found = {
            "whole": _cpu_ms(detect(rows, settings.frame_px)),
            "part": _cpu_ms(detect(CELL_PX, CELL_PX)),
            "classify": _cpu_ms(classify(1)),
            "flip": _cpu_ms(classify(2)),
        }
    return {"decode": _decode_ms(scene)} | found


def sum_kernels(kernels: Mapping[str, float], calls: Mapping[str, float]) -> float:
    """CPU seconds of so many calls of each."""
    return sum(kernels[name] * count for name, count in calls.items()) / 1000


def _cpu_ms(call: Callable[[], object]) -> float:
    for _ in range(3):
        call()
    began = time.process_time()
    for _ in range(REPEATS):
        call()
    return 1000 * (time.process_time() - began) / REPEATS


def _decode_ms(scene: Path) -> float:
    import av

    with av.open(str(scene)) as container:
        container.streams.video[0].thread_count = 1
        began = time.process_time()
        for number, _ in enumerate(container.decode(video=0), 1):
            if number == MOST_FRAMES:
                break
    return 1000 * (time.process_time() - began) / number
