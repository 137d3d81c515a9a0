"""LRDif's stage for tracks: what is remembered, what is forgotten, and that evidence adds up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models.crops import GEOMETRY
from models.emotions import EMOTIONS
from models.errors import ModelError
from models.lrdif.track_prior import Past
from models.weights import ModelCard
from trainer.batches import AugmentedBatches
from trainer.data.faceset import FaceSet
from trainer.inputs import build_inputs, simulate_displays, simulate_observations
from trainer.objectives import build_objective
from trainer.objectives.base import Batch
from trainer.objectives.lrdif.known_prior import FORGOTTEN
from trainer.objectives.lrdif.lrdif_twin import LRDifTwinObjective
from trainer.presets import find_preset
from trainer.recipes import Augment, RandomPanel, Recipe, Stage
from trainer.run import toy_faces
from trainer.samples import SampleTable

Made = tuple[Recipe, ModelCard]
STILL = torch.tensor([[1.0, 0, 0], [0, 1, 0]])


def make_track(prior: int = 16, **network: Any) -> Made:
    """A recipe with a narrow trunk and all three stages, and its card."""
    settings = {"trunk": 8, "prior": prior, "dropout": 0.0} | network
    stages = [Stage(name, 1, batch=16) for name in ("s1", "s2")]
    recipe = Recipe(
        "lrdif",
        settings,
        (*stages, Stage("track", 1, batch=16, observations=4)),
        panel=RandomPanel(),
        objective={"name": "lrdif-twin", "teacher": "resnet18-w36", "label": 0.0},
    )
    return recipe, ModelCard(
        *("tiny", "lrdif", settings, EMOTIONS, 48, 1, (0.5,), (0.25,), GEOMETRY, "made", "none")
    )


def objective_of(made: Made, faces: FaceSet | None = None) -> LRDifTwinObjective:
    torch.manual_seed(0)
    objective = build_objective(*made)
    assert isinstance(objective, LRDifTwinObjective)
    if faces is not None:
        objective.prepare(SampleTable.of(faces), faces, Path())
    for former in (objective.with_twin.former, objective.without.former):
        for film in former.films:  # type: ignore[union-attr]
            nn.init.normal_(film.weight, std=0.1)  # type: ignore[arg-type, union-attr]
    objective.network.train()
    return objective


def draw(faces: FaceSet, made: Made, observations: int, seed: int = 0) -> Batch:
    batches = AugmentedBatches(faces, made[1], made[0])
    generator = torch.Generator().manual_seed(seed)
    return batches(torch.arange(len(faces)), 48, generator, observations)


def test_a_batch_without_observations_is_as_it_always_was(
    make_faces: Callable[..., FaceSet],
) -> None:
    made, faces = make_track(), make_faces(12)
    one = draw(faces, made, 1)
    assert one.earlier is None
    counts = set()
    for seed in range(12):
        batch = draw(faces, made, 4, seed)
        if batch.earlier is None:
            counts.add(0)
            continue
        counts.add(batch.earlier.shape[1])
        assert batch.earlier.shape[2:] == batch.x.shape[1:]
    assert counts == {0, 1, 2, 3}


def test_observations_share_the_display_but_not_the_noise(
    make_faces: Callable[..., FaceSet],
) -> None:
    x = torch.from_numpy(make_faces(40).tiles).float()[:, None] / 255
    noiseless = RandomPanel(share=1.0, transmission=(1.0, 1.0), white_e=(1e12, 1e12))
    noisy = replace(noiseless, white_e=(300.0, 300.0))
    clear, _ = simulate_observations([x, x], noiseless, torch.Generator().manual_seed(1))
    assert (clear[0] - clear[1]).abs().max() <= 1 / 255
    assert (clear[0] - x).abs().max() > 0.05
    several, _ = simulate_observations([x] * 3, noisy, torch.Generator().manual_seed(1))
    one = simulate_displays(x, noisy, torch.Generator().manual_seed(1))
    assert torch.equal(several[0], one)
    apart = torch.stack([(several[n] - several[n + 1]).flatten() for n in (0, 1)])
    assert float(apart.std()) > 0.01
    # a - b and b - c of independent noises of equal variance: -1/2.
    assert float(torch.corrcoef(apart)[0, 1]) == pytest.approx(-0.5, abs=0.03)


def test_a_share_of_clear_faces_stays_clear_in_all_observations(
    make_faces: Callable[..., FaceSet],
) -> None:
    x = torch.from_numpy(make_faces(60).tiles).float()[:, None] / 255
    rounded = (x * 255).round() / 255
    views, _ = simulate_observations(
        [x] * 3, RandomPanel(share=0.5), torch.Generator().manual_seed(2)
    )
    clear = [torch.tensor([torch.equal(*pair) for pair in zip(v, rounded, strict=True)])
             for v in views]  # fmt: skip
    assert torch.equal(clear[0], clear[1])
    assert torch.equal(clear[0], clear[2])
    assert 10 < int(clear[0].sum()) < 50


def test_earlier_views_have_moved_by_up_to_a_pixel(make_faces: Callable[..., FaceSet]) -> None:
    """Without display, jitter or rotation an earlier view of a ramp is the ramp, moved."""
    recipe, card = make_track()
    still = Augment(0, 0, 0, 0, 0, 0, (0, 0))
    faces = make_faces(8)
    ramp = np.tile(np.arange(48, dtype=np.uint8) * 4, (8, 48, 1))
    batches = AugmentedBatches(
        replace(faces, tiles=ramp), card, replace(recipe, augment=still, panel=None)
    )
    seen = []
    for seed in range(6):
        batch = batches(torch.arange(8), 48, torch.Generator().manual_seed(seed), 4)
        if batch.earlier is not None:
            step = (batch.x[:, :, 24, 28] - batch.x[:, :, 24, 20]) / 8
            moved = (batch.earlier - batch.x[:, None])[:, :, :, 24, 24] / step[:, None]
            seen += moved.flatten().tolist()
    assert 0.5 < max(abs(shift) for shift in seen) < 1.2  # and what interpolation adds
    assert len({round(shift, 3) for shift in seen}) > 10


def test_only_the_last_observation_moves_the_network(make_faces: Callable[..., FaceSet]) -> None:
    made, faces = make_track(), make_faces(16)
    objective, batch = objective_of(made, faces), draw(faces, made, 4, seed=1)
    assert batch.earlier is not None
    objective.start_stage("s2")
    objective.without.trust[0] = 0.5
    objective.start_stage("track")
    assert objective.without.trust.tolist() == [0.5] * 4
    given = objective.parameters("track")
    objective.loss("track", batch).backward()  # type: ignore[no-untyped-call]
    names = {id(value): name for name, value in objective.network.named_parameters()}
    assert [names[id(v)] for v in given if v.grad is None] == []
    assert all(value.grad is None for value in objective.with_twin.parameters())
    assert not objective._recall(batch).z.requires_grad
    assert objective.logits("track", batch.x, np.arange(16)) is not None


def test_some_have_lost_their_past_and_some_have_anothers() -> None:
    """Of 4,000 faces, each with a Z of its own."""
    made = make_track()
    objective, n = objective_of(made), 4000
    own = torch.arange(n, dtype=torch.float32)[:, None].expand(n, 16)
    objective.without.remember = lambda x, noise, past: (x, Past(own, past.count + 1))  # type: ignore[method-assign]
    x = torch.zeros(n, 1, 1, 1)
    past = objective._recall(Batch(x, x, x, x, earlier=torch.zeros(n, 2, 1, 1, 1)))
    assert set(past.count.tolist()) == {0, 2}
    assert float((past.count == 0).float().mean()) == pytest.approx(FORGOTTEN, abs=0.03)
    is_other = past.z[:, 0] != own[:, 0]
    assert float(is_other.float().mean()) == pytest.approx(FORGOTTEN, abs=0.03)
    without = objective._recall(Batch(x, x, x, x))
    assert not without.count.any()


def test_trust_is_kept_by_the_length_of_the_past(make_faces: Callable[..., FaceSet]) -> None:
    made = make_track()
    objective = objective_of(made)
    objective.without.trust.copy_(torch.full((4,), 0.5))
    target = torch.nn.functional.one_hot(torch.tensor([0, 1, 2, 3]), 16).float()
    z = target.clone()
    z[1] = -z[1]
    objective._follow(z, target, torch.tensor([0, 1, 2, 9]))
    assert objective.without.trust.tolist() == pytest.approx([0.51, 0.49, 0.51, 0.51])


def test_a_control_that_ignores_its_start_has_no_tracks() -> None:
    for restorer in ("mlp", "none"):
        with pytest.raises(ModelError, match="a stage track for a restorer that does not start"):
            build_objective(*make_track(restorer=restorer))


def test_the_preset_goes_on_from_the_two_stages() -> None:
    whole, first = (find_preset("lrdif", name) for name in ("twin-track-udc-real", "twin-udc-real"))
    assert whole.stages[:2] == first.stages
    plain = find_preset("resnet18", "w36-tune-udc-real")
    assert sum(stage.epochs for stage in whole.stages) == plain.stages[0].epochs
    assert whole.panel == plain.panel


@pytest.mark.slow
def test_evidence_adds_up_along_a_track() -> None:
    """Thirty-two faces under so much noise that one observation tells little: after training, Z of
    four observations is nearer to the true one than Z of one, and a change is noticed."""
    made = make_track(prior=32)
    faces = toy_faces(32)
    objective = objective_of(made, faces)
    clean = build_inputs(faces, made[1])
    targets = torch.from_numpy(faces.targets)
    rows = torch.arange(32)
    noise = 14.0 * float(clean.std())

    def batch_of(observations: int) -> Batch:
        views = torch.stack([clean + noise * torch.randn_like(clean) for _ in range(observations)])
        earlier = views[1:].transpose(0, 1) if observations > 1 else None
        return Batch(views[0], targets, STILL.expand(32, 2, 3), rows, earlier=earlier)

    for stage, steps in (("s1", 60), ("s2", 200), ("track", 300)):
        objective.start_stage(stage)
        optimizer = torch.optim.AdamW(objective.parameters(stage), lr=3e-3, weight_decay=0.0)
        objective.network.train()
        for step in range(steps):
            optimizer.zero_grad()
            batch = batch_of(1 + step % 4 if stage == "track" else 1)
            objective.loss(stage, batch).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    objective.network.eval()
    cosines: dict[int, list[float]] = {number: [] for number in range(1, 9)}
    with torch.no_grad():
        wanted = objective.true_prior(objective.twin_features(clean))
        for _ in range(10):
            past, zero = Past.none(32, 32), torch.zeros(32, 32)
            for number in cosines:
                if number == 5:  # every track becomes another face
                    past = Past(past.z.roll(1, dims=0), past.count)
                x = clean + noise * torch.randn_like(clean)
                past = objective.without.remember(x, zero, past)[1]
                found = torch.nn.functional.cosine_similarity(past.z, wanted, dim=1)
                cosines[number].append(float(found.mean()))
    mean: dict[int, float] = {number: float(np.mean(each)) for number, each in cosines.items()}
    assert mean[4] > mean[1] + 0.03
    assert mean[8] > mean[5]
    assert mean[8] > mean[4] - 0.05
