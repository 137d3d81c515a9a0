"""`undercam train`: weights with their card, from labelled faces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from pipeline.cli.options import MOST_SEED
from pipeline.cli.output import ERRORS, as_text, print_json

Threads = Annotated[int, Option(help="CPU threads; 0: torch's choice.", min=0, max=1024)]

Workers = Annotated[
    int, Option(help="Processes that share each batch, by Ray Train.", min=1, max=1024)
]

Seed = Annotated[int, Option(help="Seed of every random draw.", min=0, max=MOST_SEED)]

Teach = Annotated[
    float,
    Option(help="With --teachers: their share, the rest is the votes'.", min=0, max=1),
]

if TYPE_CHECKING:
    from trainer.recipes import Recipe


def train(
    model: Annotated[str, Argument(help="What to train: resnet18, lrdif or poster.")],
    out: Annotated[Path, Option(help="The weights to write, .safetensors.")],
    preset: Annotated[str, Option(help="A named recipe.")] = "w32",
    data: Annotated[
        str, Option(help="Faces: ferplus:training, sheet:, csv:, npz:, folder:LAYOUT:DIR or toy.")
    ] = "ferplus:training",
    seed: Seed = 1,
    protocol: Annotated[str, Option(help="Votes to labels: ms_majority or no_drop.")] = (
        "ms_majority"
    ),
    run_dir: Annotated[
        Path | None, Option(help="Where checkpoints lie; a run there goes on. Default: runs/NAME.")
    ] = None,
    teachers: Annotated[
        str, Option(help="Learn from other weights too: names or files, comma between.")
    ] = "",
    teach: Teach = 0.5,
    teacher_view: Annotated[
        str, Option(help="What teachers judge: the same image as the student, or its clean twin.")
    ] = "same",
    threads: Threads = 0,
    workers: Workers = 1,
    gpu: Annotated[bool, Option("--gpu", help="Train on a GPU, one for each worker.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train a model, calibrate it on the validation cut, and write its weights with their card.

    An interrupted run goes on where it stopped: give the same command again.
    """
    from models.atomic_files import check_writable
    from trainer.distributed import DistributedContext, device_for
    from trainer.presets import preset as find_preset
    from trainer.run import load_faces, train_weights

    recipe, name = find_preset(model, preset), f"{model}-{preset}"
    if teachers:
        recipe, name = _with_teachers(recipe, teachers, teach, teacher_view), f"{name}-taught"
    folder = run_dir or Path("runs") / f"{name}-seed{seed}"
    check_writable(out)

    def report(line: dict[str, Any]) -> None:
        ERRORS.print(as_text(line))

    if workers > 1:
        from trainer.ray_train import Job, train_on_workers

        job = Job(name, recipe, data, protocol, seed, str(out), str(folder), threads)
        card = train_on_workers(job, workers, gpu, report)
    else:
        faces, dropped = load_faces(data, protocol, recipe)
        team = DistributedContext(device=device_for(gpu))
        card = train_weights(name, recipe, faces, seed, out, folder, threads, report, dropped, team)
    summary = {"weights": str(out), "temperature": card.temperature, "metrics": card.metrics}
    if as_json:
        print_json(summary)
    else:
        ERRORS.print(f"wrote {out}: {_measured(card.metrics)}")


def _with_teachers(recipe: Recipe, teachers: str, share: float, view: str) -> Recipe:
    from trainer.teachers import distil

    how = distil(teachers.split(","), share, view)
    return replace(recipe, distil=how, clean_twin=view == "clean")


def _measured(metrics: dict[str, Any]) -> str:
    """What a card says of the validation cut, on one line."""
    told = [
        f"{name}: accuracy {of['accuracy']:.2%}, macro F1 {of['macro_f1']:.3f}, ECE {of['ece']:.3f}"
        for name, of in metrics.items()
    ]
    return "; ".join(told) or "no face was held out to measure it on"
