"""From tracked faces to looks: each face cropped, scored, and its quality measured."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from models.classifier import EmotionClassifier, EmotionScores
from models.crops import crop_faces
from models.emotions import EMOTIONS
from models.loading import load_classifier
from models.quality import QualityMeasures, measure
from pipeline.config import EmotionSettings
from pipeline.errors import ModelError
from pipeline.frames import Frame, TrackedFaces


@dataclass(frozen=True)
class Looks:
    """One frame's tracked faces, what the classifier says of each, and how good each look was."""

    tracked: TrackedFaces
    scores: EmotionScores
    quality: QualityMeasures


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

    def __call__(self, frame: Frame, tracked: TrackedFaces) -> Looks:
        """Looks at the tracked faces of the frame, in their order; there may be none."""
        crops = crop_faces(frame.image, tracked.faces)
        return Looks(
            tracked,
            self._classifier.predict(crops, tracked.track_ids),
            measure(crops, tracked.faces.boxes),
        )


def open_classify(settings: EmotionSettings) -> Classify:
    """The stage by its settings; raises ModelError for weights that cannot serve."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    if settings.device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError("no CUDA device", settings.device, "set emotion.device = 'cpu'")
    return Classify(load_classifier(settings.weights, flip=settings.flip, device=settings.device))
