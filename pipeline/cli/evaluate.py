"""`undercam evaluate`: how good weights are, on whose faces, under which rules."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from rich.table import Table
from typer import Option

from models.classifier import EmotionClassifier
from pipeline.cli.output import OUT, data_folders, print_json, progress_bar
from pipeline.config import DetectorSettings, load
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from trainer.data.faceset import FaceSet
    from trainer.evaluate import Predictions

KNOWN = ("clean",)


def evaluate(
    weights: Annotated[str, Option(help="A name in the zoo, or a .safetensors file.")],
    data: Annotated[
        str,
        Option(
            help="Faces: ferplus:public, sheet:PICTURE,LABELS.npz, npz:, csv:, folder:LAYOUT:DIR"
        ),
    ] = "ferplus:public",
    conditions: Annotated[
        str, Option(help=f"Any of: {', '.join(KNOWN)}; comma between.")
    ] = "clean",
    protocol: Annotated[str, Option(help="Votes to labels: ms_majority or no_drop.")] = (
        "ms_majority"
    ),
    flip: Annotated[bool, Option(help="Average with the mirror image.")] = True,
    through_video: Annotated[
        bool, Option("--through-video", help="Show the faces in a video, find and name them again.")
    ] = False,
    detector: Annotated[str, Option(help="With --through-video: centerface, scrfd, yunet.")] = (
        "centerface"
    ),
    detector_model: Annotated[str, Option(help="Path of the detector's network.")] = "",
    against: Annotated[str, Option(help="Other weights, to compare on the same faces.")] = "",
    limit: Annotated[int, Option(help="Only the first N faces; 0: all.", min=0)] = 0,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure weights on labelled faces: accuracy, F1, recall, calibration, coverage.

    Faces whose pixels also stand in the training split are counted, and left out in a second line.
    """
    from models.loading import find_weights
    from trainer.data.readers import open_faces
    from trainer.evaluate import report

    started_s = time.perf_counter()
    _check(conditions)
    faces = open_faces(data, protocol)[: limit or None]
    settings = load(detector={"name": detector, "model": detector_model}).detector
    looks = _looks(weights, faces, flip, settings if through_video else None, as_json)
    averaging = "flip" if flip else "none"
    result = report(find_weights(weights), faces, {"clean": looks}, averaging, started_s)
    if through_video:
        result["through_video"] = {"detector": detector, "found": float(looks.found.mean())}
    if against:
        other = _looks(against, faces, flip, settings if through_video else None, as_json)
        result["against"] = _difference(against, looks, other, faces)
    if as_json:
        print_json(result)
    else:
        _show(result)


def _check(conditions: str) -> None:
    for name in conditions.split(","):
        if name not in KNOWN:
            raise ConfigError(
                f"no such condition {name!r}", "--conditions", f"give {', '.join(KNOWN)}"
            )


def _looks(
    weights: str, faces: FaceSet, flip: bool, detector: DetectorSettings | None, quiet: bool
) -> Predictions:
    from models.loading import load_classifier
    from trainer.evaluate import Predictions, among, columns_for, predict

    classifier: EmotionClassifier = load_classifier(weights, flip=flip)
    with progress_bar(quiet) as bar:
        task = bar.add_task(weights, total=len(faces))

        def progress(done: int, of: int) -> None:
            bar.update(task, completed=done)

        if detector is None:
            return predict(classifier, faces, progress)
        from pipeline.runners.through_video import through_video
        from pipeline.stages.detect import open_detect

        columns = columns_for(classifier.card.labels, faces)
        detect = open_detect(detector, data_folders())
        scores, found = through_video(classifier, detect, faces.tiles, faces.ids, progress)
        return Predictions(among(scores, columns), found)


def _difference(
    against: str, looks: Predictions, other: Predictions, faces: FaceSet
) -> dict[str, Any]:
    from trainer.evaluate import correctness
    from trainer.metrics import paired_difference

    a, b = correctness(looks, faces), correctness(other, faces)
    found = paired_difference(a.astype(float), b.astype(float))
    return {
        "weights": Path(against).stem,
        "accuracy": round(float(np.mean(b)), 5),
        "delta": round(found.delta, 5),
        "interval": [round(found.low, 5), round(found.high, 5)],
    }


def _show(result: dict[str, Any]) -> None:
    table = Table(title=f"{result['weights']} on {result['data']} ({result['protocol']})")
    for heading in ("condition", "faces", "accuracy", "macro F1", "ECE", "NLL"):
        table.add_column(heading, justify="left" if heading == "condition" else "right")
    for name, row in result["conditions"].items():
        for label, figures in ((name, row), (f"{name}, no duplicates", row.get("deduplicated"))):
            if figures:
                table.add_row(
                    label,
                    str(figures["n"]),
                    f"{figures['accuracy']:.2%}",
                    f"{figures['macro_f1']:.3f}",
                    f"{figures['ece']:.3f}",
                    f"{figures['nll']:.3f}",
                )
    OUT.print(table)
    OUT.print(f"averaging: {result['averaging']}", end="; ")
    OUT.print(f"precision at 80 % coverage: {result['coverage']['precision_at_80']:.2%}")
    if "through_video" in result:
        OUT.print(f"through video: {result['through_video']}")
    if "against" in result:
        OUT.print(f"against: {result['against']}")
