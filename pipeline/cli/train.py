"""`undercam train`: weights with their card, from labelled faces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from pipeline.cli.options import MOST_SEED, AsJson, Labels, Protocol
from pipeline.cli.output import ERRORS, as_text, print_json, progress_bar, warn
from pipeline.errors import ConfigError

FOR_TENSORBOARD = ("recall", "hardest")
"""Of a report, what is too much for a line."""

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

Select = Annotated[
    str,
    Option(
        help="Which weights are written: those of the `last` epoch, or those that were `best` on "
        "the validation split."
    ),
]

RunDir = Annotated[
    str,
    Option(
        help="Folder of the checkpoints, or an address that Ray takes for storage, such as "
        "s3://BUCKET/RUN. Default: runs/NAME-seedS."
    ),
]

Address = Annotated[
    str,
    Option(help="With --workers: a Ray cluster, HOST:6379. Default: a Ray of its own."),
]

TensorBoardFolder = Annotated[
    Path | None, Option("--tensorboard", help="Write the run for TensorBoard into this folder.")
]

Hardest = Annotated[
    int,
    Option(
        help="With --tensorboard: show so many faces of the validation split, those with the "
        "highest loss. They are stored in its folder.",
        min=0,
        max=64,
    ),
]

if TYPE_CHECKING:
    from models.weights import ModelCard
    from trainer.loop import Report
    from trainer.ray_train import Job
    from trainer.recipes import Recipe
    from trainer.stage_run import Progress


def train(
    model: Annotated[
        str,
        Argument(help="The model's family: resnet18, face-resnet, lrdif, emodc or another."),
    ],
    out: Annotated[Path, Option(help="The weights to write, .safetensors.")],
    preset: Annotated[str, Option(help="A named recipe, see trainer/presets.")] = "w32",
    data: Annotated[
        str,
        Option(
            help="Faces: ferplus:training, sheet:, csv:, npz:, folder:LAYOUT:DIR, shards: or toy."
        ),
    ] = "ferplus:training",
    seed: Seed = 1,
    protocol: Protocol = "ms_majority",
    labels: Labels = "votes",
    run_dir: RunDir = "",
    select: Select = "last",
    teacher: Annotated[
        str, Option(help="Distil from other weights: names or files, separated by commas.")
    ] = "",
    distill_weight: DistillWeight = None,
    distill_temperature: DistillTemperature = None,
    teacher_view: TeacherView = None,
    threads: Threads = 0,
    workers: Workers = 1,
    address: Address = "",
    gpu: Annotated[bool, Option("--gpu", help="Train on a GPU, one for each worker.")] = False,
    tensorboard: TensorBoardFolder = None,
    hardest: Hardest = 0,
    as_json: AsJson = False,
) -> None:
    """Train a model, calibrate it on the validation cut, and write its weights with their card.

    An interrupted run is resumed from its last epoch: run the same command again.
    """
    from models.atomic_files import check_writable
    from trainer.ray_train import Job, train_on_workers

    if hardest and tensorboard is None:
        raise ConfigError("faces to show, and no place for them", "--hardest", "give --tensorboard")
    if address and workers == 1:
        raise ConfigError("a cluster for one worker", "--address", "give --workers too")
    recipe, name = _find_recipe(model, preset, labels)
    how = distill_weight, distill_temperature, teacher_view
    recipe, name = _add_teachers(recipe, name, teacher, *how)
    check_writable(out)
    place = run_dir or str(Path("runs") / f"{name}-seed{seed}")
    job = Job(
        *(name, recipe, data, protocol, seed, str(out), place, threads, labels, select, hardest)
    )
    with _watch(tensorboard) as (report, progress):
        if workers > 1:
            card = train_on_workers(job, workers, gpu, report, progress, address)
        else:
            card = _train_here(job, gpu, report, progress)
    _summarise(out, card, as_json)


def _summarise(out: Path, card: ModelCard, as_json: bool) -> None:
    if as_json:
        summary = {"weights": str(out), "temperature": card.temperature, "metrics": card.metrics}
        print_json(summary)
    else:
        ERRORS.print(f"wrote {out}: {_describe(card.metrics)}")


def _train_here(job: Job, gpu: bool, report: Report, progress: Progress) -> ModelCard:
    """Train in this process, without Ray."""
    from trainer.distributed import DistributedContext, choose_device
    from trainer.loop import RunOptions
    from trainer.run import load_faces, train_weights
    from trainer.storage import open_storage

    device = choose_device(gpu)
    options = RunOptions(job.select, job.hardest, progress)
    faces, dropped = load_faces(job.data, job.protocol, job.recipe, job.labels)
    with open_storage(job.run_dir) as (folder, storage):
        return train_weights(
            *(job.name, job.recipe, faces, job.seed, Path(job.out), folder, job.threads),
            report,
            dropped,
            DistributedContext(device=device, storage=storage),
            options,
        )


@contextmanager
def _watch(tensorboard: Path | None) -> Iterator[tuple[Report, Progress]]:
    """What a run calls after every epoch, and after every step: a line, and a bar, on stderr."""
    with ExitStack() as stack:
        board = None
        if tensorboard is not None:
            try:
                from trainer.tensorboard import TensorBoard
            except ImportError as error:
                remedy = "pip install 'undercam[train]'"
                raise ConfigError("tensorboardX is missing", "--tensorboard", remedy) from error
            board = stack.enter_context(closing(TensorBoard(tensorboard)))
        bar = stack.enter_context(progress_bar())
        task = bar.add_task("", total=None, visible=False)

        def report(line: dict[str, Any]) -> None:
            if board is not None:
                board.write(line)
            ERRORS.print(as_text({k: v for k, v in line.items() if k not in FOR_TENSORBOARD}))

        def progress(what: str, done: int, of: int) -> None:
            bar.update(task, description=what, completed=done, total=of, visible=True)

        yield report, progress


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
