"""Two workers, started by Ray, learn the toy faces; more than there is room for are refused."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.loading import load_classifier
from trainer.compare.evaluate import mark_correct, predict
from trainer.errors import DataError
from trainer.presets import find_preset
from trainer.ray_train import Job, _check_resources, _start_ray, train_on_workers
from trainer.run import toy_faces


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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own settings
def test_two_workers_learn_what_one_learns(tmp_path: Path) -> None:
    recipe = find_preset("resnet18", "smoke")
    recipe = replace(recipe, stages=(replace(recipe.stages[0], epochs=4),))
    out = tmp_path / "toy.safetensors"
    job = Job("toy", recipe, "toy", "ms_majority", 3, str(out), str(tmp_path / "run"), 1)
    lines: list[dict[str, Any]] = []
    card = train_on_workers(job, workers=2, report=lines.append)
    assert [line["epoch"] for line in lines if "epoch" in line] == [1, 2, 3, 4]
    assert card.metrics
    others = toy_faces(400, seed=1)
    predictions = predict(load_classifier(str(out)), others)
    assert mark_correct(predictions, others).mean() >= 0.95


@pytest.mark.parametrize(
    ("gpu", "message"), [(False, "2 CPUs for 3 workers"), (True, "0 GPUs for 3")]
)
def test_more_workers_than_room_are_refused_not_waited_for(gpu: bool, message: str) -> None:
    with pytest.raises(DataError, match=f"{message}.*give fewer workers"):
        _check_resources({"CPU": 2.0, "memory": 1e9}, 3, gpu)
