"""Can a score tell what is no face? python -m benchmarks.not_faces --emodc W [--weights W2]

A detector's false alarm is classified like any face. Scores of PublicTest's faces against those of
squares of video in which no detector finds a face, 48 x 48 pixels all, as the area under the ROC
curve (AUROC; 0.5: no better than chance), clean and under conditions:

    noise error   EmoDC's mean squared error of predicted noise, without a description, over its
                  levels: faces are what it can denoise
    probability   1 - the largest probability, of EmoDC and of `--weights`
    energy        minus the log-sum-exp of the logits of `--weights` (Liu et al. 2020,
                  arXiv 2010.03759)
    detail        the gradient's mean square: how much there is to predict at all
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import data_folder, save_result

if TYPE_CHECKING:
    from models.emodc.classifier import EmoDCClassifier
    from models.emodc.network import EmoDC
    from models.scores import EmotionClassifier

CLIPS = (
    "media/intel_one-by-one-person-detection.mp4",
    "media/pyfeat_WolfgangLanger_Pexels.mp4",
    "media/pyfeat_no_face.mp4",
    "media/pyfeat_single_face.mp4",
)
SIDE_PX = (48, 220)
"""The smallest and the largest square that is cut from a frame."""
EVERY_S = 0.5
APART_SCORE = 0.15
"""A box of at least this score may be a face: no square touches it."""
LEAST_STD = 8.0
"""Grey values by which a square varies at least: no detector takes a plain wall for a face."""


def cut_squares(frames: list[NDArray[np.uint8]], boxes: list[Any], n: int) -> NDArray[np.uint8]:
    """n grey squares (n, 48, 48) uint8 of frames, none of which touches a box of its frame."""
    import cv2

    draw = np.random.default_rng(0)
    squares: list[Any] = []
    while len(squares) < n:
        number = int(draw.integers(len(frames)))
        frame = frames[number]
        height, width = frame.shape[:2]
        side = int(draw.integers(SIDE_PX[0], min(SIDE_PX[1], height, width)))
        x, y = int(draw.integers(width - side + 1)), int(draw.integers(height - side + 1))
        of = boxes[number]
        meets = (of[:, 0] < x + side) & (of[:, 2] > x) & (of[:, 1] < y + side) & (of[:, 3] > y)
        grey = cv2.cvtColor(frame[y : y + side, x : x + side], cv2.COLOR_RGB2GRAY)
        tile = cv2.resize(grey, (48, 48), interpolation=cv2.INTER_AREA)
        if not meets.any() and tile.std() >= LEAST_STD:
            squares.append(tile)
    return np.array(squares, np.uint8)


def open_squares(n: int) -> NDArray[np.uint8]:
    """Of the test data's clips."""
    from pipeline.settings import DetectorSettings
    from pipeline.stages.detect import open_detect
    from pipeline.stages.source.file import VideoSource

    detect = open_detect(DetectorSettings(threshold=APART_SCORE))
    frames, boxes = [], []
    for clip in CLIPS:
        due_s = 0.0
        with VideoSource(data_folder() / clip, "clip", "e0") as source:
            for frame in source:
                if frame.header.pts_s >= due_s:
                    due_s += EVERY_S
                    frames.append(frame.image)
                    boxes.append(detect(frame.image).boxes)
    return cut_squares(frames, boxes, n)


def noise_errors(
    network: EmoDC, classifier: EmoDCClassifier, tiles: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """(n,) the mean squared error of the noise over the classifier's levels."""
    import torch

    from models.crops import crops_from_tiles
    from models.emodc.noise import draw_noise
    from models.emodc.noise import noise_errors as errors_of
    from models.emodc.noisy_copies import add_noise, noise_in
    from models.model_input import to_model_input

    found = []
    with torch.inference_mode():
        for start in range(0, len(tiles), 16):
            x = to_model_input(crops_from_tiles(tiles[start : start + 16]), classifier.card)
            sigma, own = classifier.levels(x)
            noise = torch.from_numpy(
                np.stack(
                    [draw_noise(start + i, 0, len(sigma), x.shape[1:]) for i in range(len(x))],
                    axis=1,
                )
            )
            noisy = add_noise(x, sigma, own, noise)
            empty = torch.tensor([network.classes])
            predicted = network(noisy, sigma.flatten(), empty)
            errors = errors_of(noise_in(noisy, x, sigma), predicted)[:, 0]
            found.append(errors.view(len(sigma), -1).mean(dim=0).numpy())
    return np.concatenate(found).astype(np.float64)


def energy(classifier: EmotionClassifier, tiles: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(n,) minus the log-sum-exp of the logits."""
    import torch

    from models.crops import crops_from_tiles
    from models.model_input import to_model_input
    from models.serving import SoftmaxClassifier

    assert isinstance(classifier, SoftmaxClassifier)
    found = []
    with torch.inference_mode():
        for start in range(0, len(tiles), 64):
            x = to_model_input(crops_from_tiles(tiles[start : start + 64]), classifier.card)
            found.append(-classifier.logits(x).logsumexp(dim=1).numpy())
    return np.concatenate(found).astype(np.float64)


def doubts(classifier: EmotionClassifier, tiles: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(n,) 1 - the largest probability."""
    from models.crops import crops_from_tiles

    found = [
        1 - classifier.predict(crops_from_tiles(tiles[start : start + 64])).probabilities.max(1)
        for start in range(0, len(tiles), 64)
    ]
    return np.concatenate(found).astype(np.float64)


def detail(tiles: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(n,) the mean square of the gradient, of tiles of one contrast."""
    x = tiles.astype(np.float64)
    x /= x.std(axis=(1, 2), keepdims=True) + 1e-6
    return np.asarray(sum((np.diff(x, axis=axis) ** 2).mean(axis=(1, 2)) for axis in (1, 2)))


def measure(
    faces: NDArray[np.uint8], others: NDArray[np.uint8], emodc: str, weights: str
) -> dict[str, float]:
    """The AUROC of each score; above 0.5 where what is no face has the higher one."""
    from sklearn.metrics import roc_auc_score

    from models.emodc.classifier import EmoDCClassifier
    from models.emodc.network import EmoDC
    from models.loading import load_classifier, load_network

    network, _ = load_network(emodc)
    robust, fast = load_classifier(emodc), load_classifier(weights)
    if not isinstance(network, EmoDC) or not isinstance(robust, EmoDCClassifier):
        raise SystemExit(f"not_faces: {emodc}: no emodc, give its weights")
    is_other = np.repeat([False, True], [len(faces), len(others)])
    tiles = np.concatenate([faces, others])
    scores = {
        "noise error": noise_errors(network.eval(), robust, tiles),
        "probability, EmoDC": doubts(robust, tiles),
        "probability": doubts(fast, tiles),
        "energy": energy(fast, tiles),
        "detail": detail(tiles),
    }
    return {name: round(float(roc_auc_score(is_other, of)), 3) for name, of in scores.items()}


def main() -> None:
    """Measure, print, and save the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.not_faces")
    parser.add_argument("--emodc", required=True)
    parser.add_argument("--weights", default="resnet18-w36")
    parser.add_argument("--conditions", default="clean,udc_t/5,udc_p/5,gauss_noise_x1/5")
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    import torch

    from models.udc.suites import conditions, degrade
    from trainer.data.readers import open_faces

    torch.set_num_threads(options.threads)
    faces = open_faces("ferplus:public")[: options.limit].tiles
    others = open_squares(options.limit)
    found = {}
    for cell in conditions(options.conditions):
        a, b = (
            degrade(tiles, np.arange(len(tiles)), name, cell)
            for name, tiles in (("faces", faces), ("squares", others))
        )
        found[cell] = measure(a, b, options.emodc, options.weights)
    result = save_result("not-faces", vars(options) | {"auroc": found})
    if options.json:
        print(json.dumps(result))
        return
    for cell, scores in found.items():
        print(f"{cell:18}", ", ".join(f"{name} {value}" for name, value in scores.items()))


if __name__ == "__main__":
    main()
