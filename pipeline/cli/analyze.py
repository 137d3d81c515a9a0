"""`undercam analyze`: one clip or camera through all stages, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.table import Table
from typer import Argument, Option

from pipeline.camera_config import CameraConfig
from pipeline.camera_names import check_camera_name
from pipeline.cli.options import (
    PANELS,
    REAL_SEVERITY,
    AsJson,
    Config,
    Detector,
    DetectorModel,
    Fps,
    UnderDisplay,
    Weights,
)
from pipeline.cli.output import OUT, data_folders, drop_unset, print_json, progress_bar, warn
from pipeline.config import Settings, load
from pipeline.emotion_settings import FAST, ROBUST
from pipeline.redact import redact

if TYPE_CHECKING:
    from pipeline.frames import Frame
    from pipeline.live.stage_runner import RunSummary
    from pipeline.records import Event

SAMPLE = "sample"


def analyze(
    clip: Annotated[
        str,
        Argument(
            help="A video or image file; `sample`, the built-in clip; or, with --seconds, a live "
            "address or webcam:N. For an address with a password: env:NAME or file:PATH."
        ),
    ],
    events: Annotated[
        Path | None, Option(help="Write every record to this file, one JSON object a line.")
    ] = None,
    annotate: Annotated[
        Path | None,
        Option(help="Write the clip, or the image, with boxes and labels to this file."),
    ] = None,
    config: Config = None,
    detector: Detector = "",
    detector_model: DetectorModel = "",
    weights: Weights = "",
    mode: Annotated[str, Option(help="fast, robust or auto: the routes that classify.")] = "",
    fps: Fps = None,
    panel: Annotated[
        str, Option(help=f"Simulate a display in front of the camera: {PANELS}.")
    ] = "",
    severity: Annotated[
        int, Option(help=f"Severity of the simulated panel. {REAL_SEVERITY}", min=1, max=5)
    ] = 3,
    under_display: UnderDisplay = None,
    seconds: Annotated[
        float | None, Option(help="How long to read a live address, from its first frame.", min=0.1)
    ] = None,
    camera: Annotated[
        str, Option(help="Camera name in the records. Default: from the file or host name.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Detect, track and classify the faces of a clip.

    The same clip with the same settings gives the same records, but for the wall-clock fields
    `classified_ms` and `published_ms`.
    """
    route = ROBUST if (mode or load(config).emotion.mode) == ROBUST else FAST
    overrides: dict[str, dict[str, Any]] = {
        "detector": {"name": detector, "model": detector_model},
        "emotion": {"mode": mode, "routes": {route: {"weights": weights}} if weights else None},
        "source": {"analyse_fps": fps},
    }
    if camera:
        check_camera_name(camera)
    settings = load(config, **drop_unset(overrides))
    result = _run_analysis(
        *(clip, settings, events, annotate, panel, severity, under_display, seconds, camera),
        as_json,
    )
    if as_json:
        print_json(result)
    else:
        _print_summary(result)


def _run_analysis(
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
    from pipeline.cli.jsonl import JsonLinesWriter
    from pipeline.live.stage_runner import run_stages
    from pipeline.media.annotated_video import AnnotatedVideo
    from pipeline.media.display_simulation import open_simulation
    from pipeline.media.video import check_image_output
    from pipeline.stages.classify import open_classify
    from pipeline.stages.detect import open_detect

    with ExitStack() as stack:
        display = open_simulation(panel, severity) if panel else None
        run_settings = settings.observation_settings(under_display) + (
            display.name if display else ""
        )
        source, should_stop = open_input(
            _sample_or(clip), camera, settings, seconds, run_settings, stack
        )
        check_image_output(annotate, source.short_clip_frames)
        detect = open_detect(settings.detector, data_folders()).for_camera(under_display)
        classify = open_classify(settings.emotion)
        sink = stack.enter_context(JsonLinesWriter(events)) if events else _discard
        video = stack.enter_context(AnnotatedVideo(annotate, source.fps)) if annotate else None
        bar = stack.enter_context(progress_bar(as_json))
        task = bar.add_task(source.camera, total=source.frame_count)

        def on_frame(frame: Frame, records: Sequence[Event], analysed: bool) -> None:
            bar.advance(task)
            if video:
                video.write(frame, records, analysed)

        summary = run_stages(
            *(source, detect, classify, CameraConfig(settings, under_display=under_display), sink),
            transform=display.apply if display else None,
            should_stop=should_stop,
            on_frame=on_frame,
        )
    if source.damage:
        warn("damaged clip", redact(clip), source.damage)
    return {**as_dict(summary, detect.name, source.camera, source.run), "damage": source.damage}


def _discard(records: Sequence[Event]) -> None:
    """A sink for records that nobody wants."""


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


def _sample_or(name: str) -> str:
    """The path of the built-in clip, made when it is missing, for `sample`; else the name
    itself."""
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


def _print_summary(result: dict[str, Any]) -> None:
    OUT.print(
        f"{result['camera']}: {result['frames']} frames, {result['analysed']} analysed, "
        f"detector {result['detector']}, tracks: {len(result['tracks'])}"
    )
    if not result["tracks"]:
        return
    table = Table("track", "from", "to", "observations", "most likely", "second")
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
