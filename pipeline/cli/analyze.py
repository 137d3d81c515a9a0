"""`undercam analyze`: one clip, every stage, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.table import Table
from typer import Argument, Option

from pipeline.camera_config import CameraConfig
from pipeline.camera_names import check_camera_name
from pipeline.cli.output import OUT, data_folders, given, print_json, progress_bar, warn
from pipeline.config import Settings, load
from pipeline.redact import redacted

if TYPE_CHECKING:
    from pipeline.frames import Frame
    from pipeline.live.stage_runner import RunSummary
    from pipeline.records import Event

SAMPLE = "sample"
UnderDisplay = Annotated[
    bool | None,
    Option("--under-display/--clear", help="What it was filmed through; else by its noise."),
]


def analyze(
    clip: Annotated[
        str,
        Argument(
            help="A video or picture file; `sample`, the built-in clip; or, for --seconds, a live "
            "address or webcam:N. One with a password: env:NAME or file:PATH."
        ),
    ],
    events: Annotated[Path | None, Option(help="Write every record, one JSON a line.")] = None,
    annotate: Annotated[
        Path | None, Option(help="Write the clip, or the picture, with boxes and labels.")
    ] = None,
    config: Annotated[Path | None, Option("-c", "--config", help="A TOML file.")] = None,
    detector: Annotated[str, Option(help="centerface, scrfd or yunet.")] = "",
    detector_model: Annotated[str, Option(help="Path of the detector's network.")] = "",
    weights: Annotated[str, Option(help="A name in the zoo, or a .safetensors file.")] = "",
    mode: Annotated[str, Option(help="fast, robust or auto: the routes that classify.")] = "",
    fps: Annotated[float | None, Option(help="Frames analysed a second; 0: all.")] = None,
    panel: Annotated[str, Option(help="Look through a display: t-oled or p-oled.")] = "",
    severity: Annotated[int, Option(help="Of the panel.", min=1, max=5)] = 3,
    under_display: UnderDisplay = None,
    seconds: Annotated[
        float | None, Option(help="How long a live address is read, from its first frame.", min=0.1)
    ] = None,
    camera: Annotated[
        str, Option(help="Name in the records. Default: the file's, or the host's.")
    ] = "",
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find, track and name the faces of a clip.

    The same clip with the same settings gives the same records, but for the wall-clock fields
    `classified_ms` and `published_ms`.
    """
    overrides: dict[str, dict[str, Any]] = {
        "detector": {"name": detector, "model": detector_model},
        "emotion": {"mode": mode, "routes": {"fast": {"weights": weights}} if weights else None},
        "source": {"analyse_fps": fps},
    }
    if camera:
        check_camera_name(camera)
    settings = load(config, **given(overrides))
    result = _analysed(
        *(clip, settings, events, annotate, panel, severity, under_display, seconds, camera),
        as_json,
    )
    if as_json:
        print_json(result)
    else:
        _show(result)


def _analysed(
    clip: str,
    settings: Settings,
    events: Path | None,
    annotate: Path | None,
    panel: str,
    severity: int,
    under_display: bool | None,
    seconds: float | None,
    camera: str,
    as_json: bool,
) -> dict[str, Any]:
    from pipeline.cli.inputs import open_input
    from pipeline.cli.jsonl import Lines
    from pipeline.live.stage_runner import run_camera
    from pipeline.media.annotated_video import AnnotatedVideo
    from pipeline.media.display_simulation import open_display
    from pipeline.media.still import check_still
    from pipeline.stages.classify import open_classify
    from pipeline.stages.detect import open_detect

    with ExitStack() as stack:
        display = open_display(panel, severity) if panel else None
        looks = settings.of_looks(under_display) + (display.name if display else "")
        opened = open_input(_clip(clip), camera, settings, seconds, looks, stack)
        source = opened.source
        check_still(annotate, opened.packets)
        detect = open_detect(settings.detector, data_folders()).for_camera(under_display)
        classify = open_classify(settings.emotion)
        lines = stack.enter_context(Lines(events)) if events else None
        film = stack.enter_context(AnnotatedVideo(annotate, opened.fps)) if annotate else None
        bar = stack.enter_context(progress_bar(as_json))
        task = bar.add_task(source.camera, total=opened.frame_count)

        def seen(frame: Frame, records: Sequence[Event], analysed: bool) -> None:
            bar.advance(task)
            if film:
                film.show(frame, records, analysed)

        see = display.frame if display else None
        config = CameraConfig(settings, under_display=under_display)
        summary = run_camera(
            *(source, detect, classify, config, lines or _nowhere),
            pace=opened.pace,
            display=see,
            stop=opened.stop,
            seen=seen,
        )
    damage = opened.damage()
    if damage:
        warn("damaged clip", redacted(clip), damage)
    return {**as_dict(summary, detect.name, source.camera, source.run), "damage": damage}


def _nowhere(records: Sequence[Event]) -> None:
    """Nobody asked for them."""


def as_dict(summary: RunSummary, detector: str, camera: str, run: str) -> dict[str, Any]:
    """The JSON object of `undercam analyze`."""
    return {
        "camera": camera,
        "run": run,
        "frames": summary.frames,
        "analysed": summary.analysed,
        "shed": summary.shed,
        "detector": detector,
        "tracks": [
            {
                "track": track.track,
                "start_s": round(track.start_s, 3),
                "end_s": round(track.end_s, 3),
                "observations": track.observations,
                "mean": track.mean.model_dump(),
            }
            for track in sorted(summary.tracks, key=lambda track: track.track)
        ],
    }


def _clip(name: str) -> str:
    if name != SAMPLE:
        return name
    path = Path("state") / "sample.mp4"
    if not path.exists():
        from pipeline.media.sample_clip import write_sample
        from pipeline.permissions import FILE, make_folder

        make_folder(path.parent)
        write_sample(path)
        path.chmod(FILE)
    return str(path)


def _show(result: dict[str, Any]) -> None:
    OUT.print(
        f"{result['camera']}: {result['frames']} frames, {result['analysed']} analysed, "
        f"detector {result['detector']}, tracks: {len(result['tracks'])}"
    )
    if not result["tracks"]:
        return
    table = Table("track", "from", "to", "looks", "mostly", "then")
    for track in result["tracks"]:
        first, second = sorted(track["mean"].items(), key=lambda item: -item[1])[:2]
        table.add_row(
            str(track["track"]),
            f"{track['start_s']:.1f} s",
            f"{track['end_s']:.1f} s",
            str(track["observations"]),
            *(f"{name} {share:.0%}" for name, share in (first, second)),
        )
    OUT.print(table)
