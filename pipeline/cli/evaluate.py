"""`undercam evaluate`: how good weights are, on whose faces, under which rules."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from pipeline.cli.evaluation_report import show
from pipeline.cli.options import MOST_FACES
from pipeline.cli.output import data_folders, print_json, progress_bar
from pipeline.config import load
from pipeline.errors import ConfigError
from pipeline.settings import DetectorSettings

if TYPE_CHECKING:
    from models.scores import EmotionClassifier
    from trainer.compare.evaluate import Predictions
    from trainer.data.faceset import FaceSet

KNOWN = "clean, udc_t, udc_p, udc, udc_c, fer_nb, or a cell such as udc_p/3"


Limit = Annotated[int, Option(help="Only the first N faces; 0: all.", min=0, max=MOST_FACES)]


def evaluate(
    weights: Annotated[str, Option(help="A name in the zoo, or a .safetensors file.")],
    data: Annotated[
        str,
        Option(
            help="Faces: ferplus:public, sheet:PICTURE,LABELS.npz, npz:, csv:, folder:LAYOUT:DIR"
        ),
    ] = "ferplus:public",
    condition: Annotated[str, Option("--conditions", help=f"{KNOWN}; comma between.")] = "clean",
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
    keep: Annotated[
        Path | None, Option(help="A folder for what was said of every face, to make tables from.")
    ] = None,
    limit: Limit = 0,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure weights on labelled faces: accuracy, F1, recall, calibration, coverage.

    Faces whose pixels also stand in the training split are counted; a second figure leaves them
    out. Conditions are simulated displays, noise and blur: never the same as a real panel.
    """
    from models.loading import find_weights
    from trainer.compare.predictions import facts, write
    from trainer.compare.report import compare, report
    from trainer.data.readers import open_faces

    started_s = time.perf_counter()
    cells = _cells(condition, through_video)
    files = [find_weights(name) for name in (weights, against) if name]
    faces = open_faces(data, protocol)[: limit or None]
    settings = load(detector={"name": detector, "model": detector_model}).detector
    chosen = settings if through_video else None
    averaging = "flip" if flip else "none"
    looks: list[dict[str, Predictions]] = []
    for file in files:
        about = facts(file, faces, averaging, _way(chosen))
        looks.append({})
        for cell, said in _looks(file, faces, cells, flip, chosen, as_json):
            looks[-1][cell] = said
            if keep:
                write(keep, about, cell, said, faces)
    result = report(files[0], faces, looks[0], averaging, started_s)
    if through_video:
        result["through_video"] = {"detector": detector, "found": _found(looks[0])}
    if against:
        result["against"] = compare(files[1], looks[0], looks[1], faces)
    (print_json if as_json else show)(result)


def _cells(spec: str, through_video: bool) -> tuple[str, ...]:
    from models.udc.suites import CLEAN, conditions, find_panel

    try:
        cells = conditions(spec)
        for cell in cells:
            if through_video and cell != CLEAN:
                find_panel(cell)
    except ValueError as error:
        raise ConfigError(str(error), "--conditions", f"give {KNOWN}") from error
    return cells


def _way(detector: DetectorSettings | None) -> str:
    """How faces got to the classifier, in a word or two."""
    if detector is None:
        return "tiles"
    usual = detector.conditioning == "auto"
    return detector.name if usual else f"{detector.name}, condition {detector.conditioning}"


def _looks(
    weights: Path,
    faces: FaceSet,
    cells: tuple[str, ...],
    flip: bool,
    detector: DetectorSettings | None,
    quiet: bool,
) -> Iterator[tuple[str, Predictions]]:
    """What one classifier says of the faces under each condition, in turn."""
    from models.loading import load_classifier
    from trainer.compare.evaluate import predict, under

    classifier = load_classifier(str(weights), flip=flip)
    with progress_bar(quiet) as bar:
        task = bar.add_task(weights.stem, total=len(faces) * len(cells))
        for number, cell in enumerate(cells):

            def progress(done: int, of: int, before: int = number) -> None:
                bar.update(task, completed=before * of + done)

            if detector is None:
                yield cell, predict(classifier, under(faces, cell), progress)
            else:
                yield cell, _filmed(classifier, faces, cell, detector, progress)


def _found(looks: dict[str, Predictions]) -> float:
    """Share of the faces that were found, over all conditions."""
    shares = [float(said.found.mean()) for said in looks.values()]
    return round(sum(shares) / len(shares), 5)


def _filmed(
    classifier: EmotionClassifier,
    faces: FaceSet,
    cell: str,
    detector: DetectorSettings,
    progress: Callable[[int, int], None],
) -> Predictions:
    from pipeline.live.end_to_end import evaluate_end_to_end
    from pipeline.stages.detect import open_detect
    from trainer.compare.evaluate import Predictions, among, columns_for

    columns = columns_for(classifier.card.labels, faces)
    detect = open_detect(detector, data_folders())
    scores, found = evaluate_end_to_end(
        classifier, detect, faces.tiles, faces.ids, progress, faces.name, cell
    )
    return Predictions(among(scores, columns), found)
