"""`undercam evaluate`: metrics of weights on labelled faces."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from pipeline.cli.evaluation_report import show
from pipeline.cli.options import (
    CONDITIONS,
    MOST_FACES,
    AsJson,
    Conditions,
    Data,
    Detector,
    DetectorModel,
    Protocol,
    Weights,
)
from pipeline.cli.output import data_folders, print_json, progress_bar
from pipeline.config import load
from pipeline.errors import ConfigError
from pipeline.settings import DetectorSettings

if TYPE_CHECKING:
    from models.scores import EmotionClassifier
    from trainer.compare.evaluate import Predictions
    from trainer.data.faceset import FaceSet

Limit = Annotated[int, Option(help="Only the first N faces; 0: all.", min=0, max=MOST_FACES)]


def evaluate(
    weights: Weights,
    data: Data = "ferplus:public",
    condition: Conditions = "clean",
    protocol: Protocol = "ms_majority",
    flip: Annotated[bool, Option(help="Horizontal-flip TTA, or no TTA.")] = True,
    end_to_end: Annotated[
        bool,
        Option(
            "--end-to-end",
            help="Encode the faces as video, then detect (by --detector), crop and classify.",
        ),
    ] = False,
    detector: Detector = "centerface",
    detector_model: DetectorModel = "",
    against: Annotated[str, Option(help="Other weights, to compare on the same faces.")] = "",
    save_predictions: Annotated[
        Path | None, Option(help="Save the predictions in this folder, for `undercam table`.")
    ] = None,
    limit: Limit = 0,
    as_json: AsJson = False,
) -> None:
    """Measure weights on labelled faces: accuracy, F1, recall, calibration, coverage.

    A second figure leaves out faces whose pixels are also in the training split. Conditions are
    simulated displays, noise and blur: never the same as a real panel.
    """
    from models.loading import find_weights
    from trainer.compare import predictions as saved
    from trainer.compare.report import build_report, compare_with
    from trainer.data.readers import open_faces

    started_s = time.perf_counter()
    cells = _cells(condition, end_to_end)
    files = [find_weights(name) for name in (weights, against) if name]
    faces = open_faces(data, protocol)[: limit or None]
    settings = load(detector={"name": detector, "model": detector_model}).detector
    chosen = settings if end_to_end else None
    averaging = "flip" if flip else "none"
    predictions: list[dict[str, Predictions]] = []
    for file in files:
        about = saved.describe_evaluation(file, faces, averaging, _way(chosen))
        predictions.append({})
        for cell, found in _predict(file, faces, cells, flip, chosen, as_json):
            predictions[-1][cell] = found
            if save_predictions:
                saved.save_predictions(save_predictions, about, cell, found, faces)
    result = build_report(files[0], faces, predictions[0], averaging, started_s)
    if end_to_end:
        result["end_to_end"] = {"detector": detector, "found": _found_share(predictions[0])}
    if against:
        result["against"] = compare_with(files[1], predictions[0], predictions[1], faces)
    (print_json if as_json else show)(result)


def _cells(spec: str, end_to_end: bool) -> tuple[str, ...]:
    from models.udc.suites import CLEAN, conditions, find_panel

    try:
        cells = conditions(spec)
        for cell in cells:
            if end_to_end and cell != CLEAN:
                find_panel(cell)
    except ValueError as error:
        raise ConfigError(str(error), "--conditions", f"give {CONDITIONS}") from error
    return cells


def _way(detector: DetectorSettings | None) -> str:
    """The `way` of saved predictions: "tiles", or the detector and its conditioning."""
    if detector is None:
        return "tiles"
    is_default = detector.conditioning == "auto"
    return detector.name if is_default else f"{detector.name}, condition {detector.conditioning}"


def _predict(
    weights: Path,
    faces: FaceSet,
    cells: tuple[str, ...],
    flip: bool,
    detector: DetectorSettings | None,
    quiet: bool,
) -> Iterator[tuple[str, Predictions]]:
    """One classifier's predictions under each condition, one after the other."""
    from models.loading import load_classifier
    from trainer.compare.evaluate import apply_condition, predict

    classifier = load_classifier(str(weights), flip=flip)
    with progress_bar(quiet) as bar:
        task = bar.add_task(weights.stem, total=len(faces) * len(cells))
        for number, cell in enumerate(cells):

            def progress(done: int, of: int, before: int = number) -> None:
                bar.update(task, completed=before * of + done)

            if detector is None:
                yield cell, predict(classifier, apply_condition(faces, cell), progress)
            else:
                yield cell, _predict_end_to_end(classifier, faces, cell, detector, progress)


def _found_share(predictions: dict[str, Predictions]) -> float:
    """Share of the faces that were detected, over all conditions."""
    shares = [float(each.found.mean()) for each in predictions.values()]
    return round(sum(shares) / len(shares), 5)


def _predict_end_to_end(
    classifier: EmotionClassifier,
    faces: FaceSet,
    cell: str,
    detector: DetectorSettings,
    progress: Callable[[int, int], None],
) -> Predictions:
    from pipeline.live.end_to_end import evaluate_end_to_end
    from pipeline.stages.detect import open_detect
    from trainer.compare.evaluate import Predictions, find_columns, renormalise

    columns = find_columns(classifier.card.labels, faces)
    detect = open_detect(detector, data_folders())
    scores, found = evaluate_end_to_end(
        classifier, detect, faces.tiles, faces.ids, progress, faces.name, cell
    )
    return Predictions(renormalise(scores, columns), found)
