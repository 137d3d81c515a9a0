"""Published methods: toy faces are learnt, stopped runs resume bitwise, weights load and serve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from models.loading import load_classifier
from models.weights import ModelCard
from trainer import run
from trainer.compare.evaluate import mark_correct, predict
from trainer.data.faceset import FaceSet
from trainer.distributed import DistributedContext
from trainer.errors import DataError
from trainer.loop import TrainingResult, train
from trainer.presets import find_preset
from trainer.recipes import Recipe, Stage
from trainer.run import toy_faces, train_weights

METHODS = ("eac", "scn", "rul")
MakeRecipe = Callable[..., Recipe]


class StoppedError(Exception):
    """The power goes out."""


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_run_goes_on_bitwise(
    method: str,
    make_recipe: MakeRecipe,
    make_faces: Callable[..., FaceSet],
    tiny_card: ModelCard,
    tmp_path: Path,
) -> None:
    """SCN's new labels, too: they come from the first epoch on."""
    settings = {"name": method} | ({"relabel_from": 0} if method == "scn" else {})
    recipe = make_recipe({"objective": settings}, epochs=3, lr=1e-2)

    def go(
        folder: str, report: Callable[[dict[str, Any]], None] = lambda line: None
    ) -> TrainingResult:
        return train(recipe, tiny_card, make_faces(), None, 0, tmp_path / folder, report=report)

    def stop(line: dict[str, Any]) -> None:
        if line["epoch"] == 2:
            raise StoppedError

    whole = go("whole")
    with pytest.raises(StoppedError):
        go("run", stop)
    torch.manual_seed(9)
    resumed = go("run")
    files = [tmp_path / folder / "fit.safetensors" for folder in ("whole", "run")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert all(torch.equal(whole.state[name], resumed.state[name]) for name in whole.state)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_toy_faces_are_learnt_and_the_weights_serve(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "select_dtype", lambda threads: torch.float32)
    monkeypatch.setattr(run, "keep_freed_memory", lambda: None)
    smoke, full = find_preset("resnet18", "smoke"), find_preset("resnet18", f"{method}-40")
    stage = Stage("fit", epochs=5, batch=32)
    recipe = replace(full, network=smoke.network, stages=(stage,), with_dropped=False)
    out = tmp_path / "w.safetensors"
    card = train_weights("toy", recipe, toy_faces(), 0, out, tmp_path / "run", threads=1)
    assert (card.model, card.recipe["objective"]["name"]) == ("resnet18", method)
    others = toy_faces(300, seed=1)
    predictions = predict(load_classifier(str(out)), others)
    assert mark_correct(predictions, others).mean() >= 0.9


@pytest.mark.parametrize("method", ["rul", "scn"])
def test_those_who_compare_faces_train_with_one_worker(
    method: str,
    make_recipe: MakeRecipe,
    make_faces: Callable[..., FaceSet],
    tiny_card: ModelCard,
    tmp_path: Path,
) -> None:
    recipe = make_recipe({"objective": {"name": method}})
    with pytest.raises(DataError, match=f"{method} compares the faces of a batch: 2 workers"):
        train(
            recipe,
            tiny_card,
            make_faces(),
            None,
            0,
            tmp_path / "run",
            context=DistributedContext(1, 2),
        )
