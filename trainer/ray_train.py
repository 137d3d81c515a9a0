"""The same training on several workers, which Ray starts: the only file here that knows Ray."""

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
from trainer.distributed import DistributedContext
from trainer.errors import DataError, OptionError
from trainer.loop import Report
from trainer.recipes import Recipe
from trainer.run import load_faces, train_weights

LONGEST_BYTES = 20
"""Of a socket's 107, the rest is taken by what Ray puts below the folder."""


@dataclass(frozen=True)
class Job:
    """What every worker is told."""

    name: str
    recipe: Recipe
    data: str
    protocol: str
    seed: int
    out: str
    run_dir: str
    threads: int


def train_on_workers(
    job: Job, workers: int, gpu: bool = False, report: Report = lambda line: None
) -> ModelCard:
    """Train `job` on so many workers, each with a GPU or with its share of this machine's cores.

    Starts Ray here unless RAY_ADDRESS names a cluster. `job.out` and `job.run_dir` must be on
    storage that all workers reach; a worker that dies is started again, and all go on from the
    checkpoint. Raises DataError where no worker can be had or the training fails.
    """
    folder = Path(job.run_dir).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    job = replace(job, out=str(Path(job.out).absolute()), run_dir=str(folder))
    with _running() as ray:
        _check_room(ray.cluster_resources(), workers, gpu)
        _fit(job, workers, gpu, report)
    return read_card(job.out)


def _fit(job: Job, workers: int, gpu: bool, report: Report) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer
    from ray.util.queue import Queue

    told = Queue()
    listener = Thread(target=lambda: _pass_on(told, report))
    listener.start()
    trainer = TorchTrainer(
        _work,
        train_loop_config={"job": job, "gpu": gpu, "told": told},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpu),
        run_config=RunConfig(
            name="ray", storage_path=job.run_dir, failure_config=FailureConfig(max_failures=2)
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        why = str(error).strip().splitlines()[-1]
        raise DataError(f"training failed ({why})", job.name, "give the command again") from error
    finally:
        told.put(None)
        listener.join()


def _pass_on(told: Any, report: Report) -> None:
    for line in iter(told.get, None):
        report(line)


@contextmanager
def _running() -> Iterator[Any]:
    """Ray, the cluster's or one of our own; let go of in the end.

    Whoever may talk to a Ray runs code in it, so ours asks for a token that is known to its own
    processes alone, and lives in a folder that only this user may enter.
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
            raylet.Config.initialize("")  # somebody may have imported Ray before it was said
            folder = stack.enter_context(
                TemporaryDirectory(prefix="undercam-", dir=_short(), ignore_cleanup_errors=True)
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


def _short() -> str:
    """A folder for temporary files whose path leaves room for the names of Ray's sockets."""
    folder = gettempdir()
    return folder if len(os.fsencode(folder)) <= LONGEST_BYTES else "/tmp"


def _check_room(resources: Mapping[str, float], workers: int, gpu: bool) -> None:
    """Ray would wait for ever for what is not there."""
    kind = "GPU" if gpu else "CPU"
    there = int(resources.get(kind, 0))
    if there < workers:
        raise OptionError(f"{there} {kind}s for {workers} workers", "Ray", "give fewer workers")


def _work(config: dict[str, Any]) -> None:
    """One worker's whole life."""
    from ray import train

    job: Job = config["job"]
    context = train.get_context()
    device = "cuda" if config["gpu"] else "cpu"
    team = DistributedContext(context.get_world_rank(), context.get_world_size(), device)
    faces, dropped = load_faces(job.data, job.protocol, job.recipe)
    train_weights(
        job.name,
        job.recipe,
        faces,
        job.seed,
        Path(job.out),
        Path(job.run_dir),
        job.threads,
        config["told"].put if team.is_first else lambda line: None,
        dropped,
        team,
    )
