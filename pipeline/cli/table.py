"""`undercam table`: the comparison of all models, made again from what they said of each face."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.table import Table
from typer import Option

from pipeline.cli.output import OUT, print_json, progress_bar, warn

if TYPE_CHECKING:
    from trainer.tables import Evaluated

SHOWN = ("clean", "udc_t", "udc_p", "udc")


def table(
    folder: Annotated[
        Path, Option(help="Where `undercam evaluate --keep` wrote predictions.")
    ] = Path("docs/predictions"),
    recompute: Annotated[
        bool, Option("--recompute", help="Ask the weights again, and say how many answers agree.")
    ] = False,
    limit: Annotated[int, Option(help="With --recompute: only the first N faces.", min=1)] = 800,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare all models: accuracy on clean faces and behind simulated displays."""
    from models.udc.suites import CLEAN
    from trainer.tables import UDC, differences, kept_in, rows

    every = kept_in(folder)
    result: dict[str, Any] = {
        "rows": rows(every),
        "differences": differences(every, "lrdif", CLEAN) + differences(every, "lrdif", UDC),
    }
    if recompute:
        result["recomputed"] = [_again(one, limit, as_json) for one in every]
    if as_json:
        print_json(result)
    else:
        _show(result)


def _again(one: Evaluated, limit: int, quiet: bool) -> dict[str, Any]:
    """The same question to the same weights, on the first faces; nothing where they are away."""
    from models.errors import ModelError
    from models.loading import find_weights, load_classifier
    from trainer.data.readers import open_faces
    from trainer.evaluate import predict, under
    from trainer.report import sha256_of
    from trainer.tables import agreement

    name = one.about["weights"]
    told = {"weights": name, "averaging": one.about["averaging"]}
    try:
        path = find_weights(name)
    except ModelError:
        return told | {"why_not": "not among the weights that are shipped"}
    if sha256_of(path) != one.about["sha256"] or one.about["way"] != "tiles":
        return told | {"why_not": "kept of other weights, or through a video"}
    faces = open_faces(one.about["data"], one.about["protocol"])[:limit]
    classifier = load_classifier(str(path), flip=one.about["averaging"] == "flip")
    with progress_bar(quiet) as bar:
        task = bar.add_task(name, total=len(one.said))
        again = {}
        for cell in one.said:
            again[cell] = predict(classifier, under(faces, cell))
            bar.advance(task)
    return told | {"n": len(faces), "same_answers": agreement(one, again)}


def _show(result: dict[str, Any]) -> None:
    shown = Table(title="Accuracy; below, on faces that do not also stand in the training data")
    shown.add_column("weights, averaging")
    for heading in ("faces", *SHOWN):
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in result["rows"]:
        trained = f"seed {row['seed']}, {row['passes']} passes"
        trained += ", displays" * row["panel"] + ", taught" * bool(row["teachers"])
        way = row["averaging"] + ("" if row["way"] == "tiles" else f", {row['way']}")
        shown.add_row(f"{row['weights']}, {way}", str(row["n"]), *_shares(row, "{}"))
        shown.add_row(f"  {trained}", "", *_shares(row, "{}, new faces"), end_section=True)
    OUT.print(shown)
    if result["differences"]:
        OUT.print(_gains(result["differences"]))
    for one in result.get("recomputed", []):
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


def _shares(row: dict[str, Any], key: str) -> list[str]:
    named = [key.format(name) for name in SHOWN]
    return [f"{row[name]:.2%}" if name in row else "" for name in named]
