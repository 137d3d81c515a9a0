"""From crops to looks: what the classifier says of each face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from models.crops import Crops
from models.emotions import EMOTIONS
from models.loading import load_classifier
from models.precision import bfloat16_is_supported
from models.scores import EmotionClassifier, EmotionScores
from pipeline.errors import ModelError
from pipeline.frames import ClassifiedFaces, CroppedFaces, Route, ScoredBy
from pipeline.settings import EmotionSettings


class Classify:
    """Scores faces with one classifier, or with one of the `others` where a choice names it.

    `model` and `mode` name the first in the events. Raises ModelError for weights whose labels are
    not the eight expressions.
    """

    def __init__(
        self, classifier: EmotionClassifier, others: Mapping[str, EmotionClassifier] | None = None
    ) -> None:
        self._asked = {"": classifier, **(others or {})}
        for each in self._asked.values():
            _check_labels(each)
        self.model, self.mode = classifier.card.name, classifier.mode

    def __call__(self, cropped: CroppedFaces) -> ClassifiedFaces:
        """Looks at the cropped faces of a frame, in their order; there may be none."""
        weights = [choice.weights for choice in cropped.choices]
        scores = self.predict(cropped.crops, cropped.tracked.track_ids, weights)
        by = tuple(self.scored_by(choice) for choice in cropped.choices)
        return ClassifiedFaces(cropped.tracked, scores, cropped.quality, by)

    def predict(
        self, crops: Crops, ids: NDArray[np.int64], weights: Sequence[str] = ()
    ) -> EmotionScores:
        """Scores of crops (n, 112, 112, 3) uint8 RGB of the tracks `ids` (n,), each by the weights
        that are named for it: n names of `others` or "", or none at all."""
        named = np.array(weights, object)
        if not any(weights):
            return self._asked[""].predict(crops, ids)
        probabilities = np.empty((len(crops), len(EMOTIONS)), np.float32)
        uncertainty = np.empty(len(crops), np.float32)
        for name in set(named):
            rows = named == name
            said = self._asked[name].predict(crops[rows], ids[rows])
            probabilities[rows], uncertainty[rows] = said.probabilities, said.uncertainty
        return EmotionScores(probabilities, uncertainty)

    def scored_by(self, choice: Route) -> ScoredBy:
        """How a face that was scored by choice stands in the events."""
        asked = self._asked[choice.weights]
        return ScoredBy(asked.card.name, asked.mode, choice.reason)


def _check_labels(classifier: EmotionClassifier) -> None:
    if classifier.card.labels != EMOTIONS:
        raise ModelError(
            f"weights that name {', '.join(classifier.card.labels)}",
            classifier.card.name,
            "serving speaks the eight expressions; such weights can only be evaluated",
        )


def check_device(settings: EmotionSettings) -> None:
    """Raise ModelError for a device or a number format that is not there."""
    try:
        device = torch.device(settings.device)
    except RuntimeError as error:
        remedy = "set emotion.device to cpu, cuda or cuda:N"
        raise ModelError("not a device", settings.device, remedy) from error
    if device.type not in ("cpu", "cuda"):
        raise ModelError("not a device", settings.device, "set emotion.device to cpu or cuda[:N]")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ModelError("no CUDA device", settings.device, "set emotion.device = 'cpu'")
        if (device.index or 0) >= torch.cuda.device_count():
            remedy = f"this machine has {torch.cuda.device_count()}: lower its number"
            raise ModelError("no such CUDA device", settings.device, remedy)
    elif settings.dtype == "bfloat16" and not bfloat16_is_supported():
        where = "emotion.dtype"
        raise ModelError("bfloat16 ends the process on this processor", where, "set 'float32'")


def open_classify(settings: EmotionSettings) -> Classify:
    """The stage by its settings; raises ModelError for weights that cannot serve, and for a device
    or a number format that is not there."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    check_device(settings)

    def opened(weights: str) -> EmotionClassifier:
        dtype: torch.dtype = getattr(torch, settings.dtype)
        asked = {"flip": settings.flip, "device": settings.device, "draws": settings.draws}
        return load_classifier(weights, dtype=dtype, **asked)

    bad = settings.bad
    return Classify(opened(settings.weights), {bad: opened(bad)} if bad else {})
