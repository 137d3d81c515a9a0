"""`undercam data`: check a set of labelled faces, and cut faces out of photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from rich.table import Table
from typer import Argument, Option, Typer

from pipeline.cli.options import MOST_FACES, AsJson
from pipeline.cli.output import OUT, as_text, print_json, progress_bar
from pipeline.errors import ConfigError

Address = Annotated[
    str,
    Argument(help="Faces: folder:LAYOUT:DIR, shards:PLACE, csv:, npz:, ferplus:all or another."),
]
data = Typer(
    add_completion=False,
    rich_markup_mode="markdown",
    help="Check a set of labelled faces before training on it, or cut faces out of photographs.",
)


@data.command()
def check(
    address: Address,
    detect: Annotated[
        int,
        Option(
            help="Look for a face in so many images of each split, evenly apart; 0: in none.",
            min=0,
            max=MOST_FACES,
        ),
    ] = 500,
    as_json: AsJson = False,
) -> None:
    """Count images by split and class, and list what training would stumble over.

    Sizes, images that cannot be read, equal images (also in both splits, or under two labels), and
    images in which the detector finds no face. Nothing is written.
    """
    from trainer.data.check import check_data

    with progress_bar(as_json) as bar:
        task = bar.add_task(address, total=None)
        result = check_data(
            address, detect, lambda done, of: bar.update(task, completed=done, total=of)
        )
    (print_json if as_json else _show)(result)


@data.command()
def crop(
    address: Address,
    out: Annotated[Path, Argument(help="The folder to write; it must not exist.")],
    as_json: AsJson = False,
) -> None:
    """Cut the largest face out of every image, as the pipeline cuts it out of a frame.

    The folder has a folder for each class: `folder:plain:OUT` reads it. Images without a face are
    left out, and counted.
    """
    from trainer.data.cropping import crop_data

    if out.exists():
        raise ConfigError("the output exists already", str(out), "give a new name, or remove it")
    with progress_bar(as_json) as bar:
        task = bar.add_task(out.name, total=None)
        result = crop_data(
            address, out, lambda done, of: bar.update(task, completed=done, total=of)
        )
    if as_json:
        print_json({"out": str(out), **result})
    else:
        OUT.print(as_text({"out": str(out), **result}))


def _show(result: dict[str, Any]) -> None:
    """The findings for a person: a table of classes, a line for each finding, and advice."""
    splits = result["splits"]
    names = list(dict.fromkeys(name for each in splits.values() for name in each["classes"]))
    table = Table("class", *splits)
    for name in names:
        table.add_row(name, *(str(each["classes"].get(name, 0)) for each in splits.values()))
    table.add_row("all", *(str(each["images"]) for each in splits.values()))
    OUT.print(table)
    if result["sizes"]:
        sizes = (f"{name} {w}x{h}" for name, (w, h) in result["sizes"].items())
        OUT.print(f"pixels: {', '.join(sizes)}")
    duplicates = result["duplicates"]
    OUT.print(f"equal images: {duplicates['images']}")
    _show_examples("in two splits", duplicates["across_splits"])
    _show_examples("under two labels", duplicates["with_other_labels"])
    _show_examples("unreadable", result["unreadable"])
    if faces := result.get("faces"):
        OUT.print(
            f"looked for a face in {faces['images']} images: several in {faces['several_faces']}, "
            f"height {faces['height_share'] or 0:.0%} of the image on the median"
        )
        _show_examples("without a face", faces["without_face"])
    for sentence in result["advice"]:
        OUT.print(f"advice: {sentence}")


def _show_examples(what: str, found: dict[str, Any]) -> None:
    OUT.print(f"{what}: {found['count']}")
    for example in found["examples"]:
        match example:
            case {"image": image, "why": why}:
                OUT.print(f"  {image}: {why}")
            case list(names):
                OUT.print(f"  {' = '.join(names)}")
            case name:
                OUT.print(f"  {name}")
