"""`undercam figures`: figures of the comparison, and of networks' features of faces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from models.atomic_files import writing
from pipeline.cli.options import MOST_FACES, AsJson, Conditions, Data
from pipeline.cli.output import ERRORS, print_json, progress_bar
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110
MOST_SAMPLES = 40


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
    as_json: AsJson = False,
) -> None:
    """Draw the comparison from saved predictions, and networks' features of faces.

    Confusion matrices, accuracy over severities and over sampling steps; with --weights, features
    in the plane (t-SNE), a row for each of the weights, a column for each condition; with
    --samples, the faces themselves.
    """
    from trainer.compare.charts import draw_all
    from trainer.compare.tables import load_evaluations

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
    from trainer.compare.charts import draw_samples
    from trainer.compare.evaluate import apply_condition
    from trainer.data.readers import open_faces

    cells, faces = _cells(spec), open_faces(data)[:count]
    return draw_samples({cell: apply_condition(faces, cell) for cell in cells})


def _cells(spec: str) -> tuple[str, ...]:
    """The conditions that --conditions names; raises ConfigError for one that there is not."""
    from models.udc.suites import conditions

    try:
        return conditions(spec)
    except ValueError as error:
        raise ConfigError(str(error), "--conditions", "give cells such as clean,udc_p/5") from error
