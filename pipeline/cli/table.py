"""`undercam table`: the comparison of all models, computed from saved predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.table import Table
from typer import Option

from pipeline.cli.options import MOST_FACES, AsJson
from pipeline.cli.output import OUT, print_json, progress_bar, warn

if TYPE_CHECKING:
    from trainer.compare.tables import Evaluation

DATA_SETS = {
    **{"RAF-DB": "rafdb", "RAF-DB compound": "rafdb-compound", "KDEF": "kdef", "SFEW": "sfew"},
    **{"AffectNet 7": "affectnet-7", "AffectNet 8": "affectnet"},
}
"""Data sets of the papers beside FER+, each with its layout. With the originals, `undercam udc`
makes their display versions, `train emodc --preset NAME-ids|NAME-text --data folder:LAYOUT:DIR` the
networks, and `evaluate --data folder:LAYOUT:DIR --save-predictions` their rows."""
NOT_AVAILABLE = "data set not available"
SHOWN = ("clean", "udc_t", "udc_p", "udc", "udc_real")
LINES = {", new faces": "new faces", ", macro F1": "macro F1", ", neutral": "predicted neutral"}
"""What stands below a row's accuracies, by the ending of its keys."""


def table(
    folder: Annotated[
        Path, Option(help="Folder of `undercam evaluate --save-predictions`.")
    ] = Path("docs/predictions"),
    recompute: Annotated[
        bool,
        Option("--recompute", help="Predict again, and print how many predictions are the same."),
    ] = False,
    limit: Annotated[
        int, Option(help="With --recompute: only the first N faces.", min=1, max=MOST_FACES)
    ] = 800,
    as_json: AsJson = False,
) -> None:
    """Compare all models: accuracy on clean faces and under simulated displays."""
    from models.registry import FAMILIES
    from models.udc.suites import CLEAN, UDC, UDC_REAL
    from trainer.compare.tables import build_rows, compare_models, load_evaluations

    every = load_evaluations(folder)
    recomputed: list[dict[str, Any]] = []
    if recompute:
        every, recomputed = _recompute(every, limit, as_json)
    rows = build_rows(every)
    result: dict[str, Any] = {
        "rows": rows,
        "differences": [
            gain
            for model, family in FAMILIES.items()
            for suite in (CLEAN, UDC, UDC_REAL)
            for gain in (compare_models(every, model, suite) if family.complete else ())
        ],
        "not_run": _list_not_run(rows),
        "recomputed": recomputed,
    }
    if as_json:
        print_json(result)
    else:
        _show(result)


def _list_not_run(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Data sets without a row, each with the reason."""
    measured = {row["data"].rpartition(":")[0] for row in rows}
    return {
        name: NOT_AVAILABLE
        for name, layout in DATA_SETS.items()
        if f"folder:{layout}" not in measured
    }


def _recompute(
    saved: list[Evaluation], limit: int, quiet: bool
) -> tuple[list[Evaluation], list[dict[str, Any]]]:
    """New evaluations, and for each saved one its agreement, or why it cannot be repeated."""
    from trainer.compare.tables import measure_agreement

    every: list[Evaluation] = []
    agreements: list[dict[str, Any]] = []
    for one in saved:
        about: dict[str, Any] = {name: one.about[name] for name in ("weights", "averaging")}
        why_not = _why_not_repeatable(one)
        if why_not:
            agreements.append(about | {"why_not": why_not})
            continue
        again = _repeat(one, limit, quiet)
        every.append(again)
        agreement = measure_agreement(one, again)
        agreements.append(about | {"n": again.about["n"], "same_predictions": agreement})
    return every, agreements


def _why_not_repeatable(one: Evaluation) -> str:
    """Why an evaluation cannot be repeated; "" where it can."""
    from models.errors import ModelError
    from models.loading import find_weights
    from trainer.compare.report import hash_weights

    try:
        path = find_weights(one.about["weights"])
    except ModelError:
        return "not among the weights that are shipped"
    is_other = hash_weights(path) != one.about["sha256"] or one.about["way"] != "tiles"
    return "saved from other weights, or end-to-end" * is_other


def _repeat(one: Evaluation, limit: int, quiet: bool) -> Evaluation:
    """The same evaluation of the same weights, on at most the first `limit` faces."""
    from models.loading import load_classifier
    from trainer.compare.evaluate import apply_condition, predict
    from trainer.compare.tables import Evaluation
    from trainer.data.readers import open_faces

    name = one.about["weights"]
    faces = open_faces(one.about["data"], one.about["protocol"])[: min(limit, one.about["n"])]
    classifier = load_classifier(name, flip=one.about["averaging"] == "flip")
    with progress_bar(quiet) as bar:
        task = bar.add_task(name, total=len(one.predictions))
        predictions = {}
        for cell in one.predictions:
            predictions[cell] = predict(classifier, apply_condition(faces, cell))
            bar.advance(task)
    return Evaluation(one.about | {"n": len(faces)}, faces, predictions)


def _show(result: dict[str, Any]) -> None:
    shown = Table(title="Accuracy; new faces: without those that are also in the training split")
    shown.add_column("weights, TTA")
    headings = _headings(result["rows"])
    for heading in ("faces", *headings):
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in result["rows"]:
        trained = f"seed {row['seed']}, {row['epochs']} epochs"
        trained += ", displays" * row["panel"] + ", distilled" * bool(row["teachers"])
        shown.add_row(f"{row['weights']}, {_protocol(row)}", str(row["n"]), *_shares(row, headings))
        shown.add_row(f"  {trained}")
        for ending, words in LINES.items():
            if any(name.endswith(ending) for name in row):
                shown.add_row(f"  {words}", "", *_shares(row, headings, ending))
        if "neutral_true_share" in row:
            shown.add_row(f"  labelled neutral: {row['neutral_true_share']:.2%}")
        shown.add_section()
    OUT.print(shown)
    if result["differences"]:
        OUT.print(_gains(result["differences"]))
    for name, why in result["not_run"].items():
        OUT.print(f"{name}: not run: {why}")
    for one in result["recomputed"]:
        if "why_not" in one:
            warn("not recomputed", one["weights"], one["why_not"])
            continue
        least = min(one["same_predictions"].values())
        OUT.print(f"{one['weights']}: {one['n']} faces, at least {least:.2%} predicted the same")


def _gains(differences: list[dict[str, Any]]) -> Table:
    """A row for each pair under one protocol, a column for each suite."""
    suites = list(dict.fromkeys(gain["suite"] for gain in differences))
    pairs: dict[str, dict[str, dict[str, Any]]] = {}
    for gain in differences:
        pair = (
            f"{gain['weights']}, {_protocol(gain)}, {gain['n']} faces\n  against {gain['against']}"
        )
        pair += "" if gain["learned_alike"] else "\n  UNEQUAL budgets"
        pairs.setdefault(pair, {})[gain["suite"]] = gain
    shown = Table(
        title="Difference in points, 95 % interval; below, new faces only", show_lines=True
    )
    shown.add_column("weights, TTA", overflow="fold")
    for heading in suites:
        shown.add_column(heading, justify="right", no_wrap=True)
    for pair, gains in pairs.items():
        shown.add_row(pair, *(_points(gains.get(suite)) for suite in suites))
    return shown


def _protocol(row: dict[str, Any]) -> str:
    """How a row was evaluated, in words as short as a narrow terminal needs."""
    tta = "no TTA" if row["averaging"] == "none" else f"{row['averaging']} TTA"
    return tta if row["way"] == "tiles" else f"{tta}, end-to-end: {row['way']}"


def _points(gain: dict[str, Any] | None) -> str:
    lines = [gain, gain.get("deduplicated")] if gain else []
    return "\n".join(
        "{:+.1f} ({:+.1f} .. {:+.1f})".format(*(100 * x for x in (one["delta"], *one["interval"])))
        for one in lines
        if one
    )


def _headings(rows: list[dict[str, Any]]) -> list[str]:
    """The suites that any row has, and the cells that are in none of them."""
    named = {name for row in rows for name in row}
    cells = sorted(name for name in named if "/" in name and "," not in name)
    return [name for name in SHOWN if name in named] + cells


def _shares(row: dict[str, Any], headings: list[str], ending: str = "") -> list[str]:
    named = [name + ending for name in headings]
    return [f"{row[name]:.2%}" if name in row else "" for name in named]
