"""The same training on several workers, which Ray starts: the only file here that knows Ray."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from models.weights import ModelCard, read_card
from trainer.errors import DataError
from trainer.loop import Report
from trainer.recipes import Recipe
from trainer.run import load_faces, train_weights
from trainer.team import Team


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
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.util.queue import Queue

    _start(ray)
    folder = Path(job.run_dir).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    told = Queue()
    listener = Thread(target=lambda: _pass_on(told, report))
    listener.start()
    trainer = TorchTrainer(
        _work,
        train_loop_config={"job": job, "gpu": gpu, "told": told},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpu),
        run_config=RunConfig(
            name="ray", storage_path=str(folder), failure_config=FailureConfig(max_failures=2)
        ),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        why = str(error).strip().splitlines()[-1]
        raise DataError(f"training failed ({why})", job.name, "give the command again") from error
    finally:
        told.put(None)
        listener.join()
        ray.shutdown()
    return read_card(job.out)


def _pass_on(told: Any, report: Report) -> None:
    for line in iter(told.get, None):
        report(line)


def _start(ray: Any) -> None:
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if "RAY_ADDRESS" in os.environ:
            ray.init(logging_level="error", log_to_driver=False)
        else:
            os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # on this machine alone
            ray.init(
                address="local",
                include_dashboard=False,
                logging_level="error",
                log_to_driver=False,
                _node_ip_address="127.0.0.1",
            )


def _work(config: dict[str, Any]) -> None:
    """One worker's whole life."""
    from ray import train

    job: Job = config["job"]
    context = train.get_context()
    device = "cuda" if config["gpu"] else "cpu"
    team = Team(context.get_world_rank(), context.get_world_size(), device)
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
