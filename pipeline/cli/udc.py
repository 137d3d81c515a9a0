"""`undercam udc`: a picture, a clip or a whole data set, as a camera under a display sees it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from pipeline.cli.output import OUT, as_text, print_json, progress_bar, warn
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.frames import Frame
    from pipeline.media.display_simulation import Display


def udc(
    source: Annotated[
        str,
        Argument(help="A picture, a clip, or labelled faces: folder:LAYOUT:DIR, ferplus:all, csv:"),
    ],
    out: Annotated[Path, Argument(help="A new picture, clip or folder.")],
    panel: Annotated[
        str, Option(help="t-oled or p-oled. Of a data set, each picture's own is drawn.")
    ] = "",
    severity: Annotated[
        int | None, Option(help="Of a data set, each picture's own is drawn.", min=1, max=5)
    ] = None,
    face_px: Annotated[
        float,
        Option(help="Height of the faces in a picture or clip, pixels.", min=8, max=8192),
    ] = 192,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what a camera under a display would have seen: simulated optics and sensor noise.

    A data set becomes class folders and a manifest; the same input gives the same pictures.
    """
    from pipeline.media.display_simulation import open_display
    from trainer.udc_sets import KINDS

    if out.exists():
        raise ConfigError("it is there already", str(out), "give a new name, or remove it")
    if source.partition(":")[0] in KINDS:
        result = _data_set(source, out, panel, severity, as_json)
    elif panel and severity is not None:
        result = _pictures(source, out, open_display(panel, severity, face_px), as_json)
    else:
        raise ConfigError("no panel or no severity", "undercam udc", "give --panel and --severity")
    if as_json:
        print_json(result)
    else:
        OUT.print(as_text(result))


def _data_set(
    source: str, out: Path, panel: str, severity: int | None, quiet: bool
) -> dict[str, Any]:
    from models.udc.suites import DISPLAYS, SEVERITIES
    from pipeline.media.display_simulation import cell_of
    from trainer.udc_sets import write_set

    panels = [panel] if panel else list(DISPLAYS)
    severities = list(SEVERITIES) if severity is None else [severity]
    cells = [cell_of(name, level) for name in panels for level in severities]
    with progress_bar(quiet) as bar:
        task = bar.add_task(out.name, total=None)
        written = write_set(
            source, out, cells, lambda done, of: bar.update(task, completed=done, total=of)
        )
    return {"out": str(out), **written}


def _pictures(source: str, out: Path, display: Display, quiet: bool) -> dict[str, Any]:
    from pipeline.media.still import check_still
    from pipeline.stages.source.file import VideoSource

    with VideoSource(source, "udc", "e0") as clip, progress_bar(quiet) as bar:
        check_still(out, clip.packets)
        seen = bar.track(map(display.frame, clip), total=clip.frame_count, description=out.name)
        count = _write(out, iter(seen), clip.fps)
    if clip.damage:
        warn("damaged clip", source, clip.damage)
    return {"out": str(out), "frames": count, "display": display.name}


def _write(out: Path, frames: Iterator[Frame], fps: float) -> int:
    from pipeline.media.fit import Fit
    from pipeline.media.still import open_writer

    first = next(frames)
    fit = Fit(first.header.width, first.header.height)
    with open_writer(out, fit.width, fit.height, fps) as writer:
        writer.write(first.image, first.header.pts_s)
        count = 1
        for frame in frames:
            writer.write(fit.frame(frame).image, frame.header.pts_s)
            count += 1
    return count
