"""The table of samples: opinions change and are kept, what was read of a face never changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.weights import ModelCard
from trainer import checkpoint
from trainer.data.faceset import FaceSet
from trainer.errors import DataError
from trainer.loop import train
from trainer.objectives import softmax
from trainer.objectives.base import Batch
from trainer.optimisation import sample_order
from trainer.recipes import Recipe
from trainer.samples import VERSION, SampleTable

MakeFaces = Callable[..., FaceSet]
MakeRecipe = Callable[..., Recipe]


class StoppedError(Exception):
    """The power goes out."""


class Doubter(softmax.SoftmaxObjective):
    """Lets a face be learnt as its next class after every epoch, and believes it a little less."""

    epochs: list[tuple[str, str, int]]

    def __init__(self, recipe: Recipe, card: ModelCard) -> None:
        super().__init__(recipe, card)
        self.epochs = []

    def start_epoch(self, stage: str, epoch: int) -> None:
        self.epochs.append(("start", stage, epoch))

    def end_epoch(self, stage: str, epoch: int) -> None:
        self.epochs.append(("end", stage, epoch))
        rows = torch.arange(len(self.samples))
        self.samples.relabel(rows, (self.samples.targets.argmax(dim=1) + 1) % 8)
        self.samples.p_clean *= 0.5

    def loss(self, stage: str, batch: Batch) -> Tensor:
        assert torch.equal(batch.targets, self.samples.targets[batch.rows])
        return super().loss(stage, batch)


def test_votes_stay_and_targets_come_back(make_faces: MakeFaces) -> None:
    faces = make_faces(6)
    table = SampleTable.of(faces)
    table.relabel(torch.tensor([4, 1]), torch.tensor([3, -1]))
    assert table.targets[4].tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    assert torch.equal(table.targets[1], table.votes[1])
    table.relabel(torch.tensor([4]), torch.tensor([-1]))
    assert torch.equal(table.targets, torch.from_numpy(faces.targets))
    assert torch.equal(table.votes, torch.from_numpy(faces.targets))


def test_a_resumed_run_has_the_same_opinions(
    monkeypatch: pytest.MonkeyPatch,
    make_recipe: MakeRecipe,
    make_faces: MakeFaces,
    tiny_card: ModelCard,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(softmax, "OBJECTIVE", Doubter)
    recipe, faces = make_recipe(epochs=3), make_faces()
    whole = train(recipe, tiny_card, faces, None, 0, tmp_path / "whole")

    def stop(line: dict[str, object]) -> None:
        if line["epoch"] == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(recipe, tiny_card, faces, None, 0, tmp_path / "run", report=stop)
    resumed = train(recipe, tiny_card, faces, None, 0, tmp_path / "run")
    files = [tmp_path / folder / "fit.safetensors" for folder in ("whole", "run")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert whole.objective.epochs == [
        (hook, "fit", epoch) for epoch in range(3) for hook in ("start", "end")
    ]
    assert resumed.objective.epochs == [("start", "fit", 2), ("end", "fit", 2)]
    assert torch.equal(resumed.objective.samples.p_clean, torch.full((40,), 0.125))
    expected = (torch.from_numpy(faces.labels) + 3) % 8
    assert torch.equal(resumed.objective.samples.targets.argmax(dim=1), expected)


def test_difficulties_are_means_over_visits_and_come_back(make_faces: MakeFaces) -> None:
    table = SampleTable.of(make_faces(3))
    table.measure_difficulty(torch.tensor([0.0, 4.0, 1.5]), torch.tensor([0.0, 2.0, 1.0]))
    table.measure_difficulty(torch.tensor([0.0, 0.5, 0.5]), torch.tensor([0.0, 1.0, 1.0]))
    assert table.difficulty.tolist() == pytest.approx([1.0, 1.5, 1.0])  # 4.5 / 3 and 2 / 2
    assert table.visits.tolist() == [0, 3, 2]
    loaded = SampleTable.of(make_faces(3))
    loaded.load(table.state(), VERSION, "run")
    assert torch.equal(loaded.difficulty, table.difficulty)
    assert torch.equal(loaded.visits, table.visits)


def test_tables_that_do_not_fit_are_refused(make_faces: MakeFaces) -> None:
    table = SampleTable.of(make_faces(6))
    state = table.state()
    with pytest.raises(DataError, match=f"version {VERSION + 1}, this release reads {VERSION}"):
        table.load(state, VERSION + 1, "run")
    with pytest.raises(DataError, match="a table of other faces: run"):
        table.load({**state, "ids": state["ids"] + 1}, VERSION, "run")
    before = {name: state[name] for name in ("ids", "targets", "p_clean")}
    table.load(before, 1, "run")  # a table from before there were difficulties
    assert table.difficulty.tolist() == [1.0] * 6
    table.load({}, 0, "run")  # a checkpoint from before there was a table
    assert torch.equal(table.targets, table.votes)


def test_a_checkpoint_of_another_network_is_said_to_be_that(
    make_recipe: MakeRecipe, make_faces: MakeFaces, tiny_card: ModelCard, tmp_path: Path
) -> None:
    train(make_recipe(), tiny_card, make_faces(), None, 0, tmp_path)
    other = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(other.parameters())
    path = tmp_path / "fit.safetensors"
    with pytest.raises(DataError, match="of another network, or of an earlier release"):
        checkpoint.load(
            path,
            other,
            checkpoint.MovingAverage(other, 0.9),
            optimizer,
            SampleTable.of(make_faces()),
        )


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_an_epoch_draws_classes_as_often_as_it_is_told(
    make_faces: MakeFaces, balance: float
) -> None:
    faces = make_faces(4000)
    table = SampleTable.of(faces)
    rare = torch.arange(4000) % 10 == 0
    table.relabel(torch.arange(4000), torch.where(rare, 1, 0))
    table.votes = table.targets
    order = sample_order(table, balance, torch.Generator().manual_seed(0))
    assert len(order) == 4000
    share = rare[order].double().mean()
    expected = 400 ** (1 - balance) / (400 ** (1 - balance) + 3600 ** (1 - balance))
    assert share == pytest.approx(expected, abs=1e-9 if not balance else 0.03)
    if not balance:
        assert torch.equal(order.sort().values, torch.arange(4000))
