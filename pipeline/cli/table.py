"""`undercam table`: the comparison of all models, made again from what they said of each face."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.table import Table
from typer import Option

from pipeline.cli.options import MOST_FACES
from pipeline.cli.output import OUT, print_json, progress_bar, warn

if TYPE_CHECKING:
    from trainer.compare.tables import Evaluated

NOT_RUN = {"RAF-DB": "data set not at hand", "KDEF": "data set not at hand"}
"""What the paper's tables have beside FER+. `undercam udc` makes their display versions for those
who have the originals, and `evaluate --data folder:rafdb:DIR|folder:kdef:DIR --keep` their rows."""
SHOWN = ("clean", "udc_t", "udc_p", "udc")


def table(
    folder: Annotated[
        Path, Option(help="Where `undercam evaluate --keep` wrote predictions.")
    ] = Path("docs/predictions"),
    recompute: Annotated[
        bool,
        Option("--recompute", help="Ask the weights again, and say how many answers are the same."),
    ] = False,
    limit: Annotated[
        int, Option(help="With --recompute: only the first N faces.", min=1, max=MOST_FACES)
    ] = 800,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare all models: accuracy on clean faces and behind simulated displays."""
    from models.registry import FAMILIES
    from models.udc.suites import CLEAN
    from trainer.compare.tables import UDC, differences, kept_in, rows

    every = kept_in(folder)
    told: list[dict[str, Any]] = []
    if recompute:
        every, told = _recomputed(every, limit, as_json)
    result: dict[str, Any] = {
        "rows": rows(every),
        "differences": [
            gain
            for model, family in FAMILIES.items()
            for suite in (CLEAN, UDC)
            for gain in (differences(every, model, suite) if family.complete else ())
        ],
        "not_run": NOT_RUN,
        "recomputed": told,
    }
    if as_json:
        print_json(result)
    else:
        _show(result)


def _recomputed(
    kept: list[Evaluated], limit: int, quiet: bool
) -> tuple[list[Evaluated], list[dict[str, Any]]]:
    """What the weights say now, and of each how far that was kept, or why it was not asked."""
    from trainer.compare.tables import agreement

    every: list[Evaluated] = []
    told: list[dict[str, Any]] = []
    for one in kept:
        about: dict[str, Any] = {name: one.about[name] for name in ("weights", "averaging")}
        why_not = _cannot_be_asked(one)
        if why_not:
            told.append(about | {"why_not": why_not})
            continue
        again = _again(one, limit, quiet)
        every.append(again)
        told.append(about | {"n": again.about["n"], "same_answers": agreement(one, again)})
    return every, told


def _cannot_be_asked(one: Evaluated) -> str:
    """Why these weights cannot be asked once more; "" where they can."""
    from models.errors import ModelError
    from models.loading import find_weights
    from trainer.compare.report import sha256_of

    try:
        path = find_weights(one.about["weights"])
    except ModelError:
        return "not among the weights that are shipped"
    is_other = sha256_of(path) != one.about["sha256"] or one.about["way"] != "tiles"
    return "kept of other weights, or through a video" * is_other


def _again(one: Evaluated, limit: int, quiet: bool) -> Evaluated:
    """The same questions to the same weights, on the first `limit` of the faces at the most."""
    from models.loading import load_classifier
    from trainer.compare.evaluate import predict, under
    from trainer.compare.tables import Evaluated
    from trainer.data.readers import open_faces

    name = one.about["weights"]
    faces = open_faces(one.about["data"], one.about["protocol"])[: min(limit, one.about["n"])]
    classifier = load_classifier(name, flip=one.about["averaging"] == "flip")
    with progress_bar(quiet) as bar:
        task = bar.add_task(name, total=len(one.said))
        said = {}
        for cell in one.said:
            said[cell] = predict(classifier, under(faces, cell))
            bar.advance(task)
    return Evaluated(one.about | {"n": len(faces)}, faces, said)


def _show(result: dict[str, Any]) -> None:
    shown = Table(title="Accuracy; below, on faces that do not also stand in the training data")
    shown.add_column("weights, averaging")
    headings = _headings(result["rows"])
    for heading in ("faces", *headings):
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in result["rows"]:
        trained = f"seed {row['seed']}, {row['passes']} passes"
        trained += ", displays" * row["panel"] + ", taught" * bool(row["teachers"])
        way = row["averaging"] + ("" if row["way"] == "tiles" else f", {row['way']}")
        shown.add_row(f"{row['weights']}, {way}", str(row["n"]), *_shares(row, headings))
        shown.add_row(f"  {trained}", "", *_shares(row, headings, ", new faces"), end_section=True)
    OUT.print(shown)
    if result["differences"]:
        OUT.print(_gains(result["differences"]))
    for name, why in result["not_run"].items():
        OUT.print(f"{name}: not run: {why}")
    for one in result["recomputed"]:
        if "why_not" in one:
            warn("not asked again", one["weights"], one["why_not"])
            continue
        least = min(one["same_answers"].values())
        OUT.print(f"{one['weights']}: {one['n']} faces again, at least {least:.2%} same answers")


def _gains(differences: list[dict[str, Any]]) -> Table:
    """A row for each pair that was asked in one way, a column for each suite."""
    suites = list(dict.fromkeys(gain["suite"] for gain in differences))
    pairs: dict[str, dict[str, dict[str, Any]]] = {}
    for gain in differences:
        way = gain["averaging"] + ("" if gain["way"] == "tiles" else f", {gain['way']}")
        pair = f"{gain['weights']}, {way}, {gain['n']} faces\n  against {gain['against']}"
        pair += "" if gain["learned_alike"] else "\n  NOT trained alike"
        pairs.setdefault(pair, {})[gain["suite"]] = gain
    shown = Table(title="Points ahead, 95 % interval; below, on new faces", show_lines=True)
    shown.add_column("weights, averaging", overflow="fold")
    for heading in suites:
        shown.add_column(heading, justify="right", no_wrap=True)
    for pair, gains in pairs.items():
        shown.add_row(pair, *(_points(gains.get(suite)) for suite in suites))
    return shown


def _points(gain: dict[str, Any] | None) -> str:
    told = [gain, gain.get("deduplicated")] if gain else []
    return "\n".join(
        "{:+.1f} ({:+.1f} .. {:+.1f})".format(*(100 * x for x in (one["delta"], *one["interval"])))
        for one in told
        if one
    )


def _headings(rows: list[dict[str, Any]]) -> list[str]:
    """The suites that some row has, and the cells that stand for none."""
    named = {name for row in rows for name in row}
    cells = sorted(name for name in named if "/" in name and "," not in name)
    return [name for name in SHOWN if name in named] + cells


def _shares(row: dict[str, Any], headings: list[str], ending: str = "") -> list[str]:
    named = [name + ending for name in headings]
    return [f"{row[name]:.2%}" if name in row else "" for name in named]
