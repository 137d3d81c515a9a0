"""`undercam udc`: an image, a clip or a data set as an under-display camera records it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from pipeline.cli.options import PANELS, REAL_SEVERITY, AsJson
from pipeline.cli.output import OUT, as_text, print_json, progress_bar, warn
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.frames import Frame
    from pipeline.media.display_simulation import DisplaySimulation


def udc(
    source: Annotated[
        str,
        Argument(help="An image, a clip, or labelled faces: folder:LAYOUT:DIR, ferplus:all, csv:."),
    ],
    out: Annotated[Path, Argument(help="The image, clip or folder to write; it must not exist.")],
    panel: Annotated[
        str,
        Option(
            help=f"{PANELS}. Default for a data set: t-oled or p-oled for each image, by its id."
        ),
    ] = "",
    severity: Annotated[
        int | None,
        Option(
            help=f"{REAL_SEVERITY} Default for a data set: one for each image, by its id.",
            min=1,
            max=5,
        ),
    ] = None,
    face_px: Annotated[
        float,
        Option(help="Height of the faces in the image or clip, pixels.", min=8, max=8192),
    ] = 192,
    as_json: AsJson = False,
) -> None:
    """Simulate an under-display camera: the optics of the display and the noise of the sensor.

    A data set is written as class folders and a manifest; the same input gives the same images.
    """
    from pipeline.media.display_simulation import open_simulation
    from trainer.data.originals import KINDS

    if out.exists():
        raise ConfigError("the output exists already", str(out), "give a new name, or remove it")
    if source.partition(":")[0] in KINDS:
        result = _simulate_data_set(source, out, panel, severity, as_json)
    elif panel and severity is not None:
        result = _simulate_clip(source, out, open_simulation(panel, severity, face_px), as_json)
    else:
        raise ConfigError("no panel or no severity", "undercam udc", "give --panel and --severity")
    if as_json:
        print_json(result)
    else:
        OUT.print(as_text(result))


def _simulate_data_set(
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


def _simulate_clip(
    source: str, out: Path, display: DisplaySimulation, quiet: bool
) -> dict[str, Any]:
    from pipeline.media.video import check_image_output
    from pipeline.stages.source.file import VideoSource

    with VideoSource(source, "udc", "e0") as clip, progress_bar(quiet) as bar:
        check_image_output(out, clip.short_clip_frames)
        frames = bar.track(map(display.apply, clip), total=clip.frame_count, description=out.name)
        count = _write(out, iter(frames), clip.fps)
    if clip.damage:
        warn("damaged clip", source, clip.damage)
    return {"out": str(out), "frames": count, "display": display.name}


def _write(out: Path, frames: Iterator[Frame], fps: float) -> int:
    from pipeline.media.video import FrameFit, open_writer

    first = next(frames)
    fit = FrameFit(first.header.width, first.header.height)
    with open_writer(out, fit.width, fit.height, fps) as writer:
        writer.write(first.image, first.header.pts_s)
        count = 1
        for frame in frames:
            writer.write(fit.frame(frame).image, frame.header.pts_s)
            count += 1
    return count
