"""Training on several workers with Ray Train: the only file of the trainer that imports Ray."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from threading import Thread
from typing import Any

from models.weights import ModelCard, read_card
from trainer.data.label_noise import VOTES
from trainer.distributed import DistributedContext
from trainer.errors import DataError, OptionError
from trainer.loop import Report
from trainer.recipes import Recipe
from trainer.run import load_faces, train_weights

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


def train_on_workers(
    job: Job, workers: int, gpu: bool = False, report: Report = lambda line: None
) -> ModelCard:
    """Train `job` on several workers, each with a GPU or with its share of this machine's cores.

    Starts a local Ray unless RAY_ADDRESS names a cluster. `job.out` and `job.run_dir` must be on
    storage that all workers reach; a worker that dies is restarted, and all resume from the
    checkpoint. Raises DataError where there is no room for the workers or the training fails.
    """
    folder = Path(job.run_dir).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    job = replace(job, out=str(Path(job.out).absolute()), run_dir=str(folder))
    with _start_ray() as ray:
        _check_resources(ray.cluster_resources(), workers, gpu)
        _fit(job, workers, gpu, report)
    return read_card(job.out)


def _fit(job: Job, workers: int, gpu: bool, report: Report) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer
    from ray.util.queue import Queue

    reports = Queue()
    listener = Thread(target=lambda: _forward(reports, report))
    listener.start()
    trainer = TorchTrainer(
        _run_worker,
        train_loop_config={"job": job, "gpu": gpu, "reports": reports},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpu),
        run_config=RunConfig(
            name="ray", storage_path=job.run_dir, failure_config=FailureConfig(max_failures=2)
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        why = str(error).strip().splitlines()[-1]
        raise DataError(f"training failed ({why})", job.name, "run the command again") from error
    finally:
        reports.put(None)
        listener.join()


def _forward(reports: Any, report: Report) -> None:
    for line in iter(reports.get, None):
        report(line)


@contextmanager
def _start_ray() -> Iterator[Any]:
    """Connect to the cluster's Ray, or start a local one; shut down at the end.

    Whoever reaches a Ray runs code in it, so the local one requires a token that only its own
    processes know, and uses a folder that only this user may enter.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"logging_level": "error", "log_to_driver": False}
    with ExitStack() as stack:
        if "RAY_ADDRESS" not in os.environ:
            os.environ["RAY_AUTH_MODE"] = "token"
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        import ray

        raylet: Any = import_module("ray._raylet")

        if "RAY_ADDRESS" in os.environ:
            ray.init(**quiet)
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
    context = DistributedContext(ray_context.get_world_rank(), ray_context.get_world_size(), device)
    faces, dropped = load_faces(job.data, job.protocol, job.recipe, job.labels)
    train_weights(
        job.name,
        job.recipe,
        faces,
        job.seed,
        Path(job.out),
        Path(job.run_dir),
        job.threads,
        config["reports"].put if context.is_first else lambda line: None,
        dropped,
        context,
    )
