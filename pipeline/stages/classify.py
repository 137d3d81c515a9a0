"""From crops to looks: what the classifier says of each face."""

from __future__ import annotations

import torch

from models.classifier import EmotionClassifier
from models.emotions import EMOTIONS
from models.loading import load_classifier
from pipeline.errors import ModelError
from pipeline.frames import CroppedFaces, Looks
from pipeline.settings import EmotionSettings


class Classify:
    """Scores the faces of a frame; `model` and `mode` stand in the events."""

    def __init__(self, classifier: EmotionClassifier) -> None:
        if classifier.card.labels != EMOTIONS:
            raise ModelError(
                f"weights that name {', '.join(classifier.card.labels)}",
                classifier.card.name,
                "serving speaks the eight expressions; such weights can only be evaluated",
            )
        self._classifier = classifier
        self.model = classifier.card.name
        self.mode = classifier.mode

    def __call__(self, cropped: CroppedFaces) -> Looks:
        """Looks at the cropped faces of a frame, in their order; there may be none."""
        scores = self._classifier.predict(cropped.crops, cropped.tracked.track_ids)
        return Looks(cropped.tracked, scores, cropped.quality)


def open_classify(settings: EmotionSettings) -> Classify:
    """The stage by its settings; raises ModelError for weights that cannot serve."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    if settings.device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError("no CUDA device", settings.device, "set emotion.device = 'cpu'")
    return Classify(load_classifier(settings.weights, flip=settings.flip, device=settings.device))
