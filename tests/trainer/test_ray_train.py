"""Two workers, started by Ray, learn the toy faces; more than there is room for are refused."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as distributed
from safetensors.torch import load_file

from models.atomic_files import writing
from models.loading import load_classifier
from models.weights import read_state
from trainer.compare.evaluate import mark_correct, predict
from trainer.distributed import DistributedContext
from trainer.errors import DataError
from trainer.presets import find_preset
from trainer.ray_train import Job, _check_resources, _start_ray, train_on_workers
from trainer.run import load_faces, toy_faces, train_weights


def test_ray_lets_in_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    seen: list[tuple[str, int, int]] = []

    def init(address: str, **options: Any) -> None:
        folder = Path(options["_temp_dir"]).parent
        token = os.environ["RAY_AUTH_TOKEN"]
        seen.append((os.environ["RAY_AUTH_MODE"], len(token), stat.S_IMODE(folder.stat().st_mode)))
        assert address == "local"

    monkeypatch.setattr(ray, "init", init)
    with _start_ray():
        pass
    assert seen == [("token", 64, 0o700)]


def settle_float32(run_dir: Path) -> None:
    """The number format, which a run would find out for itself."""
    with writing(run_dir / "dtype") as unfinished:
        unfinished.write_text("float32", encoding="ascii")


def drfer_job(folder: Path) -> Job:
    """DR-FER with both of its folds on noisy toy faces, an epoch of each stage."""
    smoke = find_preset("drfer", "smoke")
    stages = tuple(replace(stage, epochs=1) for stage in smoke.stages)
    recipe = replace(smoke, stages=stages, objective=smoke.objective | {"mim": 0.0})
    out, run_dir = folder / "w.safetensors", folder / "run"
    settle_float32(run_dir)
    return Job(
        *("toy", recipe, "toy", "ms_majority", 3, str(out), str(run_dir), 1, "symmetric:0.2")
    )


def work(folder: Path, rank: int) -> None:
    """One of two workers without Ray: this file, run as a program."""
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet"
    distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)
    job = drfer_job(folder)
    faces, dropped = load_faces(job.data, job.protocol, job.recipe, job.labels)
    train_weights(
        *(job.name, job.recipe, faces, job.seed, Path(job.out), Path(job.run_dir), job.threads),
        dropped=dropped,
        context=DistributedContext(rank, 2),
    )
    distributed.destroy_process_group()


def list_workers() -> list[int]:
    """The processes of Ray's workers that this process has started, by their numbers."""
    parents: dict[int, int] = {}
    workers: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rsplit(")")[-1].split()[1]
            )
            if b"TrainWorker" in (folder / "cmdline").read_bytes():
                workers.append(int(folder.name))
        except (OSError, ValueError):  # it has just ended
            continue

    def is_ours(process: int) -> bool:
        return process == os.getpid() or (process > 1 and is_ours(parents.get(process, 0)))

    return [worker for worker in workers if is_ours(worker)]


@pytest.mark.slow
@pytest.mark.timeout(600)  # two trainings of two processes, which wait for each other at each layer
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own settings
def test_a_worker_that_is_killed_changes_nothing(tmp_path: Path) -> None:
    """Killed in the middle of a round: weights, checkpoints and the table of samples are those of
    two workers that were left alone, and had no Ray."""
    plain = tmp_path / "plain"
    plain.mkdir()
    command = [sys.executable, __file__, str(plain)]
    alone = [subprocess.Popen([*command, str(rank)]) for rank in range(2)]
    assert [worker.wait(timeout=240) for worker in alone] == [0, 0]
    killed: list[int] = []

    def progress(what: str, done: int, of: int) -> None:
        if what.startswith("rounds") and done < of and not killed:
            killed.extend(list_workers()[-1:])
            os.kill(killed[0], signal.SIGKILL)

    lines: list[dict[str, Any]] = []
    job = drfer_job(tmp_path / "ray")
    train_on_workers(job, workers=2, report=lines.append, progress=progress)
    assert killed
    # Reported once each: the epoch that was cut short was repeated, those before it were not.
    assert [line["stage"] for line in lines if "epoch" in line] == ["warmup", "rounds", "fit"]
    for stage in ("warmup", "rounds", "fit"):
        files = [tmp_path / run / "run" / f"{stage}.safetensors" for run in ("plain", "ray")]
        ours, theirs = (load_file(file) for file in files)
        assert "samples/kept.is_clean" in ours
        assert ours.keys() == theirs.keys()
        assert [name for name in ours if not ours[name].equal(theirs[name])] == []
    ours, theirs = (read_state(tmp_path / run / "w.safetensors") for run in ("plain", "ray"))
    assert [name for name in ours if not ours[name].equal(theirs[name])] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own settings
def test_two_workers_learn_what_one_learns(tmp_path: Path) -> None:
    """On noisy labels, their checkpoints at an address; the same as one process without Ray."""
    recipe = find_preset("resnet18", "smoke")
    recipe = replace(recipe, stages=(replace(recipe.stages[0], epochs=4),))
    out, labels, address = tmp_path / "toy.safetensors", "symmetric:0.1", f"file://{tmp_path}/kept"
    job = Job("toy", recipe, "toy", "ms_majority", 3, str(out), address, 1, labels)
    lines: list[dict[str, Any]] = []
    for folder in ("kept", "run"):
        settle_float32(tmp_path / folder)
    card = train_on_workers(job, workers=2, report=lines.append)
    assert [line["epoch"] for line in lines if "epoch" in line] == [1, 2, 3, 4]
    assert card.metrics
    assert labels in card.data
    assert {"faces.sha256", "fit.safetensors", "fit-best.safetensors"} <= {
        path.name for path in (tmp_path / "kept").iterdir()
    }
    others = toy_faces(400, seed=1)
    two = predict(load_classifier(str(out)), others)
    assert mark_correct(two, others).mean() >= 0.95
    faces, _ = load_faces("toy", "ms_majority", recipe, labels)
    train_weights("toy", recipe, faces, 3, tmp_path / "one.safetensors", tmp_path / "run", 1)
    one = predict(load_classifier(str(tmp_path / "one.safetensors")), others)
    assert mark_correct(one, others).mean() >= 0.95
    # Sums of two shares are rounded otherwise than one sum, and a hundred steps make more of that;
    # that a step's gradients are equal is proven in test_every_family.
    assert np.abs(one.probabilities - two.probabilities).mean() < 0.02


@pytest.mark.parametrize(
    ("gpu", "message"), [(False, "2 CPUs for 3 workers"), (True, "0 GPUs for 3")]
)
def test_more_workers_than_room_are_refused_not_waited_for(gpu: bool, message: str) -> None:
    with pytest.raises(DataError, match=f"{message}.*give fewer workers"):
        _check_resources({"CPU": 2.0, "memory": 1e9}, 3, gpu)


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]))
