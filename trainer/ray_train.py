"""Training on several workers with Ray Train: the only file of the trainer that imports Ray."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from threading import Thread
from typing import Any

from models.atomic_files import writing
from models.errors import UndercamError
from models.weights import ModelCard, read_card
from trainer.data.label_noise import VOTES
from trainer.distributed import DistributedContext
from trainer.errors import DataError, OptionError
from trainer.loop import LAST, Report, RunOptions
from trainer.recipes import Recipe
from trainer.run import load_faces, train_weights
from trainer.stage_run import Progress
from trainer.storage import is_address, open_storage

MAX_FAILURES = 3
"""Workers that may die in one run."""
PROGRESS_EVERY_S = 0.5
MAX_FOLDER_BYTES = 20
"""A socket's path has 107 bytes; Ray needs the rest for the names below the folder."""


@dataclass(frozen=True)
class Job:
    """The arguments of one training, sent to every worker."""

    name: str
    recipe: Recipe
    data: str
    protocol: str
    seed: int
    out: str
    run_dir: str
    threads: int
    labels: str = VOTES
    select: str = LAST
    hardest: int = 0


@dataclass(frozen=True)
class Weights:
    """The finished weights, on their way from the first worker: the content of their file."""

    content: bytes


def train_on_workers(
    job: Job,
    workers: int,
    gpu: bool = False,
    report: Report = lambda line: None,
    progress: Progress = lambda what, done, of: None,
    address: str = "",
) -> ModelCard:
    """Train `job` on several workers, each with a GPU or with its share of this machine's cores.

    Starts a local Ray unless `address`, or RAY_ADDRESS, names a cluster. `job.run_dir` is a folder
    that all workers reach, or an address (`trainer.storage`); `job.out` is written on this machine.
    A worker that dies is started again, elsewhere if its machine is gone, and all resume from the
    checkpoint. Raises DataError where there is no room for the workers or the training fails.
    """
    if not is_address(job.run_dir):
        folder = Path(job.run_dir).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        job = replace(job, run_dir=str(folder))
    with _start_ray(address) as ray:
        _check_resources(ray.cluster_resources(), workers, gpu)
        _fit(job, workers, gpu, report, progress)
    return read_card(Path(job.out))


def _fit(job: Job, workers: int, gpu: bool, report: Report, progress: Progress) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer
    from ray.util.queue import Queue

    messages = Queue()
    faults: list[UndercamError] = []
    receive = partial(_receive, messages, job, report, progress, faults)
    receiver = Thread(target=receive)
    receiver.start()
    trainer = TorchTrainer(
        _run_worker,
        train_loop_config={"job": job, "gpu": gpu, "messages": messages},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpu),
        run_config=RunConfig(
            name="ray",
            storage_path=job.run_dir,
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        why = str(error).strip().splitlines()[-1]
        raise DataError(f"training failed ({why})", job.name, "run the command again") from error
    finally:
        messages.put(None)
        receiver.join()
    if faults:
        raise faults[0]


def _receive(
    messages: Any, job: Job, report: Report, progress: Progress, faults: list[UndercamError]
) -> None:
    """Take what the first worker sends until it has finished: steps, reports, and the weights."""
    for message in iter(messages.get, None):
        match message:
            case (str(what), int(done), int(of)):
                progress(what, done, of)
            case Weights(content):
                try:
                    with writing(Path(job.out)) as unfinished:
                        unfinished.write_bytes(content)
                except UndercamError as error:
                    faults.append(error)
            case _:
                report(message)


@contextmanager
def _start_ray(address: str = "") -> Iterator[Any]:
    """Connect to the Ray at `address`, or RAY_ADDRESS, or start a local one; shut down at the end.

    Whoever reaches a Ray runs code in it, so the local one requires a token that only its own
    processes know, and uses a folder that only this user may enter.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"logging_level": "error", "log_to_driver": False}
    is_cluster = bool(address) or "RAY_ADDRESS" in os.environ
    with ExitStack() as stack:
        if not is_cluster:
            os.environ["RAY_AUTH_MODE"] = "token"
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        import ray

        raylet: Any = import_module("ray._raylet")

        if is_cluster:
            ray.init(address or None, **quiet)
        else:
            raylet.Config.initialize("")  # Ray may have been imported before the token was set
            folder = stack.enter_context(
                TemporaryDirectory(
                    prefix="undercam-", dir=_short_temp_folder(), ignore_cleanup_errors=True
                )
            )
            ray.init(
                "local",
                include_dashboard=False,
                _node_ip_address="127.0.0.1",
                _temp_dir=f"{folder}/ray",
                **quiet,
            )
        stack.callback(ray.shutdown)
        yield ray


def _short_temp_folder() -> str:
    """A folder for temporary files whose path leaves room for the names of Ray's sockets."""
    folder = gettempdir()
    return folder if len(os.fsencode(folder)) <= MAX_FOLDER_BYTES else "/tmp"


def _check_resources(resources: Mapping[str, float], workers: int, gpu: bool) -> None:
    """Refuse what Ray would otherwise wait for without end."""
    kind = "GPU" if gpu else "CPU"
    available = int(resources.get(kind, 0))
    if available < workers:
        raise OptionError(f"{available} {kind}s for {workers} workers", "Ray", "give fewer workers")


def _run_worker(config: dict[str, Any]) -> None:
    """One worker: read the faces and train."""
    from ray import train

    job: Job = config["job"]
    ray_context = train.get_context()
    device = "cuda" if config["gpu"] else "cpu"
    rank, size = ray_context.get_world_rank(), ray_context.get_world_size()
    send = config["messages"].put if rank == 0 else lambda message: None
    faces, dropped = load_faces(job.data, job.protocol, job.recipe, job.labels)
    options = RunOptions(job.select, job.hardest, _throttle(send))
    with open_storage(job.run_dir) as (run_dir, storage), TemporaryDirectory() as folder:
        out = Path(folder) / Path(job.out).name
        train_weights(
            *(job.name, job.recipe, faces, job.seed, out, run_dir, job.threads),
            send,
            dropped,
            DistributedContext(rank, size, device, storage),
            options,
        )
        if rank == 0:
            send(Weights(out.read_bytes()))


def _throttle(send: Callable[[Any], None]) -> Progress:
    """Sends a step now and then: a message costs a millisecond."""
    sent_s = 0.0

    def progress(what: str, done: int, of: int) -> None:
        nonlocal sent_s
        now_s = time.monotonic()
        if done == of or now_s - sent_s >= PROGRESS_EVERY_S:
            sent_s = now_s
            send((what, done, of))

    return progress
