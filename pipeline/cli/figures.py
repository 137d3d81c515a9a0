"""`undercam figures`: figures of the comparison, and of networks' features of faces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from models.atomic_files import writing
from pipeline.cli.options import MOST_FACES, AsJson, Conditions, Data, Labels
from pipeline.cli.output import ERRORS, print_json, progress_bar
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110
MOST_SAMPLES = 40
FACES, NEIGHBOURS = 8, 5


def figures(
    out: Annotated[Path, Option(help="The folder to write figures into.")] = Path("runs/figures"),
    folder: Annotated[
        Path, Option(help="Folder of `undercam evaluate --save-predictions`.")
    ] = Path("docs/predictions"),
    weights: Annotated[
        str,
        Option(
            help="Also project these networks' features of --data under --conditions: names or "
            "files, comma-separated."
        ),
    ] = "",
    data: Data = "ferplus:public",
    condition: Conditions = "clean,udc_p/5",
    samples: Annotated[
        int,
        Option(
            help="Also show this many faces of --data under --conditions, side by side.",
            min=0,
            max=MOST_SAMPLES,
        ),
    ] = 0,
    limit: Annotated[
        int, Option(help="With --weights: only the first N faces.", min=8, max=MOST_FACES)
    ] = 800,
    run_dir: Annotated[
        Path | None,
        Option(
            help="The run directory of a DR-FER in --weights: show what it paints of masked faces, "
            "and what noisy ones retrieve, --samples of them. --data and --labels as in training."
        ),
    ] = None,
    labels: Labels = "votes",
    as_json: AsJson = False,
) -> None:
    """Draw the comparison from saved predictions, and networks' features of faces.

    Confusion matrices, accuracy over severities and over sampling steps; with --weights, features
    in the plane (t-SNE), a row for each of the weights, a column for each condition; with
    --samples, the faces themselves; with --run-dir, only what a run of DR-FER makes of its faces.
    """
    from trainer.compare.charts import draw_all
    from trainer.compare.tables import load_evaluations

    if run_dir:
        drawn = _of_run(weights, run_dir, data, labels, samples or FACES)
    else:
        drawn = dict(draw_all(load_evaluations(folder)))
        if weights:
            drawn["features"] = _features(weights.split(","), data, condition, limit, as_json)
        if samples:
            drawn["samples"] = _samples(data, condition, samples)
    files = [_save(figure, out / f"{name}.png") for name, figure in drawn.items()]
    if as_json:
        print_json({"figures": [str(file) for file in files]})
    else:
        ERRORS.print("\n".join(f"wrote {file}" for file in files))


def _save(figure: Figure, file: Path) -> Path:
    with writing(file) as unfinished:
        figure.savefig(unfinished, dpi=DPI, format="png")
    return file


def _features(names: list[str], data: str, spec: str, limit: int, quiet: bool) -> Figure:
    """The same faces, a row for each of the weights, a column for each condition."""
    from models.loading import find_weights
    from models.weights import read_card
    from trainer.compare.budgets import is_udc_trained
    from trainer.compare.charts import Panel, draw_scatter
    from trainer.compare.evaluate import apply_condition
    from trainer.compare.features import extract_features, project_features
    from trainer.data.readers import open_faces

    cells, faces = _cells(spec), open_faces(data)[:limit]
    panels: list[Panel] = []
    with progress_bar(quiet) as bar:
        task = bar.add_task("features", total=len(names) * len(cells))
        for name in names:
            condition = " (displays)" * is_udc_trained(vars(read_card(find_weights(name))))
            for cell in cells:
                places = project_features(extract_features(name, apply_condition(faces, cell)))
                title = f"{Path(name).stem}{condition}\n{cell}"
                panels.append(Panel(title, places, faces.labels, faces.classes))
                bar.advance(task)
    return draw_scatter(panels, columns=len(cells) if len(cells) > 1 else 3)


def _samples(data: str, spec: str, count: int) -> Figure:
    """The first faces, a row for each condition."""
    from trainer.compare.evaluate import apply_condition
    from trainer.compare.face_charts import draw_samples
    from trainer.data.readers import open_faces

    cells, faces = _cells(spec), open_faces(data)[:count]
    return draw_samples({cell: apply_condition(faces, cell) for cell in cells})


def _of_run(weights: str, run_dir: Path, data: str, labels: str, count: int) -> dict[str, Figure]:
    """Faces that a run of DR-FER paints, and what those retrieve whose labels pass for noisy."""
    from models.loading import find_weights
    from models.weights import read_card
    from trainer.compare.face_charts import Retrieval, draw_image_rows, draw_retrieval
    from trainer.objectives.drfer.figures import FinishedRun
    from trainer.run import load_training_faces

    card = read_card(find_weights(weights))
    if card.model != "drfer":
        raise ConfigError(f"weights of {card.model}", "--run-dir", "give --weights of one DR-FER")
    faces = load_training_faces(data, card, labels)
    run = FinishedRun(card, run_dir, faces)
    noisy, names = run.list_noisy(count), faces.classes
    figures = {}
    if run.paints:
        painted = run.paint_faces(noisy)
        rows = {"masked": painted.hidden, "painted": painted.painted, "true": painted.true}
        figures["drfer-painted"] = draw_image_rows(rows)
    retrieved = [
        Retrieval(
            (faces.tiles[one.row], _title(one.label, one.truth, one.p_clean, names)),
            [(faces.tiles[row], names[faces.labels[row]]) for row in one.neighbours],
            one.precisions,
        )
        for one in run.retrieve(noisy, NEIGHBOURS)
    ]
    figures["drfer-retrieval"] = draw_retrieval(retrieved, names)
    return figures


def _title(label: int, truth: int, p_clean: float, names: tuple[str, ...]) -> str:
    """A face's label, its P(clean), and, where it is another one, its true class."""
    title = f"{names[label]}, P {p_clean:.2f}"
    return title if truth in (-1, label) else f"{title}\ntruly {names[truth]}"


def _cells(spec: str) -> tuple[str, ...]:
    """The conditions that --conditions names; raises ConfigError for one that there is not."""
    from models.udc.suites import conditions

    try:
        return conditions(spec)
    except ValueError as error:
        raise ConfigError(str(error), "--conditions", "give cells such as clean,udc_p/5") from error
