"""LRDif learns: sixty-four faces by heart, toy faces to tell apart, and neither from a leak."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor

from models.diffusion import Diffusion
from models.lrdif.network import Shape
from models.weights import ModelCard
from trainer.data.faceset import FaceSet
from trainer.inputs import build_inputs
from trainer.objectives import build_objective
from trainer.objectives.base import Batch
from trainer.objectives.lrdif.lrdif import LRDifObjective
from trainer.recipes import Recipe
from trainer.run import toy_faces

Made = tuple[Recipe, ModelCard]
STILL = torch.tensor([[1.0, 0, 0], [0, 1, 0]])


def batch_of(faces: FaceSet, card: ModelCard) -> Batch:
    """All faces, unchanged."""
    n = len(faces)
    targets = torch.from_numpy(faces.targets)
    return Batch(build_inputs(faces, card), targets, STILL.expand(n, 2, 3), torch.arange(n))


def select_prefix(batch: Batch, rows: Tensor) -> Batch:
    """Some rows of a batch."""
    return Batch(batch.x[rows], batch.targets[rows], batch.warps[rows], batch.rows[rows])


def fit(objective: LRDifObjective, stage: str, batch: Batch, steps: int, size: int) -> None:
    """That many steps of Adam on batches of `size` in random order."""
    objective.start_stage(stage)
    parameters = objective.parameters(stage)
    optimizer = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    objective.network.train()
    for _ in range(steps):
        rows = torch.randperm(len(batch.rows))[:size]
        optimizer.zero_grad()
        objective.loss(stage, select_prefix(batch, rows)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    objective.network.eval()


def share_right(logits: Tensor, batch: Batch) -> float:
    """Accuracy."""
    return float((logits.argmax(dim=1) == batch.targets.argmax(dim=1)).float().mean())


@torch.no_grad()
def explained_variance(objective: LRDifObjective, batch: Batch) -> float:
    """R^2 of the restored Z."""
    wanted = objective.target_prior(batch)
    found = objective.without.restore(batch.x, torch.randn_like(wanted))
    rest, whole = (found - wanted).square().sum(), (wanted - wanted.mean(dim=0)).square().sum()
    return 1 - float(rest / whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["small", pytest.param("cpu", marks=pytest.mark.timeout(1200))],
)
def test_sixty_four_faces_by_heart(
    make_lrdif: Callable[..., Made], make_faces: Callable[..., FaceSet], name: str
) -> None:
    made = make_lrdif(prior=32, width=32)
    if name == "cpu":
        made = make_lrdif(prior=128, **asdict(Shape(dropout=0.0)))
    torch.manual_seed(0)
    objective, faces = build_objective(*made), make_faces(64)
    batch = batch_of(faces, made[1])
    fit(objective, "s1", batch, 60, 64)
    with torch.no_grad():
        assert share_right(objective.with_label(batch.x, batch.targets), batch) >= 0.99
    fit(objective, "s2a", batch, 450, 64)
    fit(objective, "s2", batch, 60, 64)
    with torch.no_grad():
        logits = objective.logits("s2", batch.x, faces.ids)
    assert logits is not None
    assert share_right(logits, batch) >= 0.98
    assert explained_variance(objective, batch) >= 0.95


@dataclass
class Taught:
    """Both stages taught on toy faces, and toy faces they never saw."""

    objective: LRDifObjective
    batch: Batch
    faces: FaceSet

    @torch.no_grad()
    def starts(self, diffusion: Diffusion, draws: int) -> Tensor:
        """Z_T as training begins it, that many for each face: (draws, n, C)."""
        torch.manual_seed(1)
        wanted = self.objective.target_prior(self.batch)
        noises = torch.randn(draws, *wanted.shape)
        return torch.stack([diffusion.forward(wanted, noise) for noise in noises])

    @torch.no_grad()
    def right(self, start: Tensor) -> float:
        """Accuracy of stage 2 from these starts."""
        return share_right(self.objective.without(self.batch.x, start), self.batch)


@pytest.fixture(scope="module")
def taught(make_lrdif: Callable[..., Made]) -> Taught:
    torch.manual_seed(0)
    recipe, card = make_lrdif(prior=128)
    objective, seen = build_objective(recipe, card), batch_of(toy_faces(640), card)
    fit(objective, "s1", seen, 60, 64)
    fit(objective, "s2", seen, 160, 64)
    other = toy_faces(1000, seed=1)
    return Taught(objective, batch_of(other, card), other)


def probed(starts: Tensor, faces: FaceSet) -> tuple[float, float]:
    """Balanced accuracy of a linear probe of the label from Z_T (draws, n, C), on faces it did not
    see, and the standard error of a guess."""
    labels = np.broadcast_to(faces.labels, starts.shape[:2])
    half = len(faces) // 2
    probe = LogisticRegression(C=0.01, max_iter=200)
    probe.fit(starts[:, :half].flatten(0, 1).numpy(), labels[:, :half].ravel())
    wanted = labels[:, half:].ravel()
    found = probe.predict(starts[:, half:].flatten(0, 1).numpy())
    return balanced_accuracy_score(wanted, found), math.sqrt(1 / 8 * 7 / 8 / len(wanted))


def test_the_start_tells_no_label(taught: Taught) -> None:
    """Nothing with pure noise; otherwise something, though no more than an oracle could read."""
    found, error = probed(taught.starts(taught.objective.without.diffusion, draws=10), taught.faces)
    assert found <= 1 / 8 + 2 * error
    found, error = probed(taught.starts(Diffusion(zero_snr=False), draws=10), taught.faces)
    assert 1 / 8 + 4 * error < found <= 0.26 + 2 * error


def test_training_starts_are_no_better_than_those_that_serve(taught: Taught) -> None:
    diffusion = taught.objective.without.diffusion
    training = taught.right(taught.starts(diffusion, draws=1)[0])
    asked = taught.objective.logits("s2", taught.batch.x, taught.faces.ids)
    assert asked is not None
    serving = share_right(asked, taught.batch)
    assert serving >= 0.9  # of eight classes
    error = math.sqrt(serving * (1 - serving) / len(taught.faces))
    assert training - serving <= error + 1e-9


@pytest.mark.slow
def test_z_alone_can_tell_the_label(make_lrdif: Callable[..., Made]) -> None:
    """New faces of noise: stage 1 knows them by their Z, and by another's Z is at chance."""
    torch.manual_seed(0)
    recipe, card = make_lrdif(prior=32, width=32)
    objective = build_objective(recipe, card)

    def noise(n: int, seed: int) -> Batch:
        faces, rng = toy_faces(n, seed), np.random.default_rng(seed)
        tiles = rng.integers(0, 256, faces.tiles.shape, dtype=np.uint8)
        return batch_of(replace(faces, tiles=tiles), card)

    fit(objective, "s1", noise(2000, 1), 250, 32)
    batch = noise(800, 2)
    with torch.no_grad():
        z = objective.target_prior(batch)
        own = share_right(objective.with_label.former(batch.x, z), batch)
        others = share_right(objective.with_label.former(batch.x, z.roll(1, dims=0)), batch)
    assert own >= 0.98
    assert others == pytest.approx(1 / 8, abs=4 * math.sqrt(7 / 64 / 800))
