"""`undercam train`: weights with their card, from labelled faces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from pipeline.cli.options import MOST_SEED, AsJson, Protocol
from pipeline.cli.output import ERRORS, as_text, print_json, warn
from pipeline.errors import ConfigError

Threads = Annotated[int, Option(help="CPU threads; 0: torch's choice.", min=0, max=1024)]

Workers = Annotated[
    int, Option(help="Processes that share each batch, by Ray Train.", min=1, max=1024)
]

Seed = Annotated[int, Option(help="Seed of all random numbers.", min=0, max=MOST_SEED)]

DistillWeight = Annotated[
    float | None,
    Option(
        help="With --teacher: weight of the teachers' predictions in the targets. Default: 0.5.",
        min=0.01,
        max=1,
    ),
]

DistillTemperature = Annotated[
    float | None,
    Option(
        help="With --teacher: divide the logits of teachers and student by it where they are "
        "compared, which shows more of the less likely classes. Default: 1.",
        min=1,
        max=20,
    ),
]

TeacherView = Annotated[
    str | None,
    Option(
        help="With --teacher: they classify the `same` image as the student, the default, or its "
        "`clean` twin."
    ),
]

Labels = Annotated[
    str,
    Option(
        help="What a face is trained as: `votes`, the share of each; `hard`, its class; "
        "`one-vote`, one of its votes, drawn once; `symmetric:0.2`, its class but for a fifth of "
        "the faces."
    ),
]

if TYPE_CHECKING:
    from trainer.recipes import Recipe


def train(
    model: Annotated[
        str,
        Argument(help="The model's family: resnet18, face-resnet, lrdif, emodc or another."),
    ],
    out: Annotated[Path, Option(help="The weights to write, .safetensors.")],
    preset: Annotated[str, Option(help="A named recipe, see trainer/presets.")] = "w32",
    data: Annotated[
        str, Option(help="Faces: ferplus:training, sheet:, csv:, npz:, folder:LAYOUT:DIR or toy.")
    ] = "ferplus:training",
    seed: Seed = 1,
    protocol: Protocol = "ms_majority",
    labels: Labels = "votes",
    run_dir: Annotated[
        Path | None, Option(help="Directory of the checkpoints. Default: runs/NAME-seedS.")
    ] = None,
    teacher: Annotated[
        str, Option(help="Distil from other weights: names or files, separated by commas.")
    ] = "",
    distill_weight: DistillWeight = None,
    distill_temperature: DistillTemperature = None,
    teacher_view: TeacherView = None,
    threads: Threads = 0,
    workers: Workers = 1,
    gpu: Annotated[bool, Option("--gpu", help="Train on a GPU, one for each worker.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model, calibrate it on the validation cut, and write its weights with their card.

    An interrupted run is resumed from its last epoch: run the same command again.
    """
    from models.atomic_files import check_writable
    from trainer.distributed import DistributedContext, choose_device
    from trainer.run import load_faces, train_weights

    recipe, name = _find_recipe(model, preset, labels)
    how = distill_weight, distill_temperature, teacher_view
    recipe, name = _add_teachers(recipe, name, teacher, *how)
    folder = run_dir or Path("runs") / f"{name}-seed{seed}"
    check_writable(out)

    def report(line: dict[str, Any]) -> None:
        ERRORS.print(as_text(line))

    if workers > 1:
        from trainer.ray_train import Job, train_on_workers

        job = Job(name, recipe, data, protocol, seed, str(out), str(folder), threads, labels)
        card = train_on_workers(job, workers, gpu, report)
    else:
        faces, dropped = load_faces(data, protocol, recipe, labels)
        context = DistributedContext(device=choose_device(gpu))
        card = train_weights(
            name, recipe, faces, seed, out, folder, threads, report, dropped, context
        )
    summary = {"weights": str(out), "temperature": card.temperature, "metrics": card.metrics}
    if as_json:
        print_json(summary)
    else:
        ERRORS.print(f"wrote {out}: {_describe(card.metrics)}")


def _find_recipe(model: str, preset: str, labels: str) -> tuple[Recipe, str]:
    """The preset's recipe, and the name of weights that it trains on these labels."""
    from trainer.presets import current_name, find_preset

    name = current_name(preset)
    if name != preset:
        warn("renamed preset", preset, f"give {name}")
    suffix = "" if labels == "votes" else f"-{labels.replace(':', '-')}"
    return find_preset(model, name), f"{model}-{name}{suffix}"


def _add_teachers(
    recipe: Recipe,
    name: str,
    teachers: str,
    weight: float | None,
    temperature: float | None,
    view: str | None,
) -> tuple[Recipe, str]:
    """The recipe and name with teachers, where there are any. None: the option was not given."""
    from trainer.distillation import make_distillation

    options = ("--distill-weight", "--distill-temperature", "--teacher-view")
    for option, value in zip(options, (weight, temperature, view), strict=True):
        if value is not None and not teachers:
            raise ConfigError("an option for teachers, and no teacher", option, "give --teacher")
    if not teachers:
        return recipe, name
    names = teachers.split(",")
    distillation = make_distillation(names, weight or 0.5, view or "same", temperature or 1.0)
    recipe = replace(recipe, distillation=distillation)
    return recipe, f"{name}-distilled"


def _describe(metrics: dict[str, Any]) -> str:
    """A card's metrics on the validation cut, on one line."""
    parts = [
        f"{name}: accuracy {of['accuracy']:.2%}, macro F1 {of['macro_f1']:.3f}, ECE {of['ece']:.3f}"
        for name, of in metrics.items()
    ]
    return "; ".join(parts) or "not measured: too few faces for a validation cut"
