"""`undercam figures`: drawings of the comparison, and of what networks make of faces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from models.atomic_files import writing
from pipeline.cli.options import MOST_FACES
from pipeline.cli.output import ERRORS, print_json, progress_bar
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110


def figures(
    out: Annotated[Path, Option(help="The folder to draw into.")] = Path("runs/figures"),
    folder: Annotated[
        Path, Option(help="Where `undercam evaluate --keep` wrote predictions.")
    ] = Path("docs/predictions"),
    weights: Annotated[
        str, Option(help="Also lay out what these make of faces: names or files, comma between.")
    ] = "",
    data: Annotated[str, Option(help="With --weights: the faces.")] = "ferplus:public",
    condition: Annotated[
        str, Option("--conditions", help="With --weights: as for `evaluate`, comma between.")
    ] = "clean,udc_p/5",
    limit: Annotated[
        int, Option(help="With --weights: only the first N faces.", min=8, max=MOST_FACES)
    ] = 800,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Draw the comparison from kept predictions, and what networks make of faces.

    Confusions, accuracy over severities and over LRDif's steps; and with --weights, features in the
    plane (t-SNE), a row for each, a column for each condition.
    """
    from trainer.compare.charts import of_kept
    from trainer.compare.tables import kept_in

    drawn = dict(of_kept(kept_in(folder)))
    if weights:
        drawn["features"] = _features(weights.split(","), data, condition, limit, as_json)
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
    from models.udc.suites import conditions
    from models.weights import read_card
    from trainer.compare.budgets import saw_displays
    from trainer.compare.charts import Panel, scatter
    from trainer.compare.evaluate import under
    from trainer.compare.features import laid_out, penultimate
    from trainer.data.readers import open_faces

    try:
        cells = conditions(spec)
    except ValueError as error:
        raise ConfigError(str(error), "--conditions", "give cells such as clean,udc_p/5") from error
    faces = open_faces(data)[:limit]
    panels: list[Panel] = []
    with progress_bar(quiet) as bar:
        task = bar.add_task("features", total=len(names) * len(cells))
        for name in names:
            learned = " (displays)" * saw_displays(vars(read_card(find_weights(name))))
            for cell in cells:
                places = laid_out(penultimate(name, under(faces, cell)))
                title = f"{Path(name).stem}{learned}\n{cell}"
                panels.append(Panel(title, places, faces.labels, faces.classes))
                bar.advance(task)
    return scatter(panels, columns=len(cells) if len(cells) > 1 else 3)
