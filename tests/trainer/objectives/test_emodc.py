"""EmoDC's stages: what each moves and learns, on faces that a network learns in seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.crops import GEOMETRY
from models.emodc.descriptions import PHRASES
from models.emodc.levels import measure_quality
from models.emodc.network import HEADS
from models.emodc.noise import LEAST_SIGMA, MOST_SIGMA
from models.emotions import BASIC_SEVEN, EMOTIONS
from models.errors import ModelError
from models.loading import as_classifier, load_classifier
from models.weights import ModelCard
from trainer import run
from trainer.compare.evaluate import mark_correct, predict
from trainer.data.faceset import FaceSet
from trainer.errors import DataError, OptionError
from trainer.inputs import build_inputs
from trainer.loop import train
from trainer.objectives import build_objective
from trainer.objectives.base import Batch
from trainer.objectives.emodc import emodc
from trainer.objectives.emodc.emodc import MARGINS, PLAIN, WITH_CROSS_ENTROPY, EmoDCObjective
from trainer.objectives.emodc.noisy_faces import CLEAN_SIGMA, sample_sigmas
from trainer.objectives.emodc.weights import (
    QUALITIES,
    fit_bin_weights,
    fit_cells,
    fit_weights,
    level_centres,
    level_errors,
    spread_quality,
)
from trainer.presets import find_preset
from trainer.presets.emodc import ARMS
from trainer.recipes import Augment, Recipe, Stage
from trainer.samples import SampleTable

Made = tuple[Recipe, ModelCard]
STILL = Augment(0, 0, 0, 0, 0, 0, (0, 0))


def make(*stages: str, px: int = 16, epochs: int = 1, model: str = "emodc",
         network: dict[str, Any] | None = None, **recipe: Any) -> Made:  # fmt: skip
    """A recipe of a narrow network for small faces, and its card."""
    settings = {"width": 8, "dropout": 0.0} | (network or {})
    staged = tuple(
        Stage(name, epochs, batch=16, lr=2e-3, resolution=((0.0, px),)) for name in stages
    )
    made = Recipe(model, settings, staged, input_px=px, augment=STILL, **recipe)
    return made, ModelCard(
        *("tiny", model, settings, EMOTIONS, px, 1, (0.5,), (0.25,), GEOMETRY, "made", "none")
    )


def objective_of(made: Made) -> EmoDCObjective:
    torch.manual_seed(0)
    objective = build_objective(*made)
    assert isinstance(objective, EmoDCObjective)
    objective.network.train()
    return objective


def test_noise_levels_are_log_uniform_and_a_share_nearly_clean() -> None:
    torch.manual_seed(0)
    sigma = sample_sigmas(20_000)
    assert float(sigma.min()) >= LEAST_SIGMA
    assert float(sigma.max()) <= MOST_SIGMA
    clean = sigma < CLEAN_SIGMA
    assert float(clean.float().mean()) == pytest.approx(0.3, abs=0.01)
    for part, low, high in ((sigma[clean], 0.002, 0.02), (sigma[~clean], 0.02, 1.0)):
        assert float(part.log().mean()) == pytest.approx(np.log(low * high) / 2, abs=0.05)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("stage", ["classifier", "decoder", "base", "amdit-a1", "ce"])
def test_every_stage_gives_a_gradient_to_all_that_it_lists(
    stage: str, head: str, batch: Batch
) -> None:
    objective = objective_of(make(stage, network={"head": head}))
    optimizer = torch.optim.Adam(objective.parameters(stage), lr=1e-3)
    moved: dict[str, bool] = {}
    for _ in range(6):
        optimizer.zero_grad()
        objective.loss(stage, batch).backward()  # type: ignore[no-untyped-call]
        listed = {id(value) for value in objective.parameters(stage)}
        for name, value in objective.network.named_parameters():
            if id(value) in listed:
                assert value.grad is not None, name
                moved[name] = moved.get(name, False) or bool(value.grad.any())
        optimizer.step()
    assert [name for name, has_moved in moved.items() if not has_moved] == []
    assert ("emodc.encoder.head.weight" in moved) == (stage == "classifier")
    assert ("emodc.log_scale" in moved) == (stage in WITH_CROSS_ENTROPY)


@pytest.mark.parametrize(("head", "encoder"), [("split", "fixed"), ("cond", "")])
def test_words_learn_and_what_a_text_encoder_made_of_them_stays(
    batch: Batch, head: str, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FixedEncoder:
        def __init__(self, name: str, labels: tuple[str, ...]) -> None:
            assert (name, labels) == ("fixed", PHRASES)

        def label(self, shares: torch.Tensor) -> torch.Tensor:
            return shares @ torch.linspace(-1, 1, 24 * len(PHRASES)).view(len(PHRASES), 24)

    monkeypatch.setattr(emodc, "ClipEncoders", FixedEncoder)
    network = {"head": head, "condition": "text", "labels": list(EMOTIONS)}
    network |= {"encodings": 24} if encoder else {}
    objective = objective_of(
        make("decoder", network=network, objective={"text_encoder": encoder} if encoder else {})
    )
    parameters = objective.parameters("decoder")
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    moved = [False] * len(parameters)
    few = Batch(batch.x[:4], batch.targets[:4], batch.warps[:4], batch.rows[:4])
    for _ in range(5):
        optimizer.zero_grad()
        objective.loss("decoder", few).backward()  # type: ignore[no-untyped-call]
        moved = [was or bool(p.grad.any()) for was, p in zip(moved, parameters, strict=True)]  # type: ignore[union-attr]
        optimizer.step()
    names = {id(value): name for name, value in objective.network.named_parameters()}
    assert [names[id(p)] for p, has in zip(parameters, moved, strict=True) if not has] == []
    assert {"emodc.descriptions.phrases.weight", "emodc.readers.1.keys.weight"} <= {*names.values()}
    if encoder:
        encodings = objective.emodc.descriptions.encodings
        assert torch.equal(encodings, FixedEncoder("fixed", PHRASES).label(torch.eye(len(PHRASES))))
        with pytest.raises(ModelError, match="set condition to text and encodings to 24"):
            build_objective(*make("base", objective={"text_encoder": "fixed"}))


def test_faces_of_other_classes_than_the_recipes(batch: Batch) -> None:
    network = {"head": "cond", "labels": list(BASIC_SEVEN)}
    with pytest.raises(DataError, match="faces of the classes neutral, .*: give faces of neutral"):
        build_objective(*make("base", network=network))


def test_statistics_are_measured_on_the_base_model_alone(batch: Batch) -> None:
    for stage in ("base", "base-longer", "decoder", "amdit-a3"):
        objective = objective_of(make(stage))
        objective.loss(stage, batch)
        assert bool(objective.statistics.count.any()) == (stage == "base")


def test_an_images_margin_is_of_its_mean_difficulty_and_not_of_the_draw(
    batch: Batch, make_faces: Callable[..., FaceSet]
) -> None:
    """A face that was hard before has the wide margin; one never measured that of its draw."""
    faces, losses = make_faces(16), {}
    for difficulty in (0.5, 2.0, torch.nan):
        objective = objective_of(make("amdit-a4-image-wide"))
        objective.prepare(SampleTable.of(faces), faces, Path())
        objective.start_epoch("amdit-a4-image-wide", 0)
        if difficulty == difficulty:  # a number
            objective.samples.measure_difficulty(torch.full((16,), difficulty), torch.ones(16))
        torch.manual_seed(1)
        losses[difficulty] = float(objective.loss("amdit-a4-image-wide", batch).detach())
        objective.end_epoch("amdit-a4-image-wide", 0)
        known = 1 if difficulty == difficulty else 0
        assert objective.samples.visits.tolist() == [known + 1.0] * 16
    drawn = objective_of(make("amdit-a4-wide"))
    torch.manual_seed(1)
    expected = float(drawn.loss("amdit-a4-wide", batch).detach())
    assert losses[torch.nan] == expected
    # All hinges are active at first: the loss differs by the margin alone, 0.1 ebar d with ebar 1.
    assert losses[2.0] - losses[0.5] == pytest.approx(0.1 * 1.5, rel=1e-3)


def test_metrics_follow_the_hinge(batch: Batch) -> None:
    objective = objective_of(make("amdit-a1"))
    for _ in range(3):
        objective.loss("amdit-a1", batch)
    metrics = objective.train_metrics()
    assert 0 < metrics["e_y"] < 2
    # No emotion differs from another at first: every hinge is active.
    assert [metrics[f"active_{n}"] for n in range(1, 5)] == [1, 1, 1, 1]
    assert objective.train_metrics() == {}


def test_the_teacher_sees_the_clean_faces(make_faces: Callable[..., FaceSet]) -> None:
    made, faces = make("decoder", px=48, objective={"teacher": "resnet18-w36"}), make_faces(4)
    objective, x = objective_of(made), torch.randn(4, 1, 48, 48)
    warps = torch.tensor([[1.0, 0, 0], [0, 1, 0]]).repeat(4, 1, 1)
    batch = Batch(x, torch.full((4, 8), 1 / 8), warps, torch.arange(4))
    objective.prepare(SampleTable.of(faces), faces, Path())
    teacher = objective._teacher
    assert teacher._network is not None
    with torch.no_grad():
        own = teacher._network(build_inputs(faces, made[1]))
    assert float(teacher.loss(own, batch)) == pytest.approx(0, abs=1e-5)
    assert float(teacher.loss(own + torch.eye(8)[:4] * 3, batch).detach()) > 0.01
    torch.manual_seed(1)
    with_teacher = objective.loss("decoder", batch)
    torch.manual_seed(1)
    alone = objective_of(make("decoder", px=48)).loss("decoder", batch)
    assert float((with_teacher - alone).detach()) > 1e-3


def test_an_unknown_stage() -> None:
    with pytest.raises(OptionError, match="amdit-a9"):
        build_objective(*make("amdit-a9"))


def test_every_arm_has_a_loss_and_starts_from_one_base_model() -> None:
    assert {*ARMS} == {"base-longer", "ce", *MARGINS}
    base = find_preset("emodc", "base")
    for arm in ARMS:
        recipe = find_preset("emodc", arm)
        assert recipe.stages[:2] == base.stages
        assert replace(recipe, stages=base.stages) == base
        assert replace(recipe.stages[2], name="base", lr=base.stages[1].lr) == base.stages[1]
    assert set(PLAIN) == {"base", "base-longer"}


def test_an_arm_goes_on_from_a_copy_of_the_run_directory(
    tmp_path: Path, make_faces: Callable[..., FaceSet]
) -> None:
    faces, base = make_faces(32), make("classifier", "base")
    train(*base, faces, None, 0, tmp_path / "base")
    copied = tmp_path / "arm"
    copied.mkdir()
    for file in (tmp_path / "base").iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    arm = make("classifier", "base", "amdit-a4-image-narrow")
    gone_on = train(*arm, faces, None, 0, copied)
    alone = train(*arm, faces, None, 0, tmp_path / "alone")
    # With the images' difficulties, which Base measured once and the arm once more.
    tables = [result.objective.samples for result in (gone_on, alone)]
    assert torch.equal(tables[0].difficulty, tables[1].difficulty)
    assert tables[0].visits.tolist() == [2.0] * 32
    assert float(tables[0].difficulty.std()) > 0
    assert all(torch.equal(gone_on.state[name], value) for name, value in alone.state.items())
    assert not any(name.startswith("margins") for name in gone_on.state)


def test_weights_are_those_of_the_informative_levels() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(8, (4000,), generator=generator)
    good = torch.randn(4000, 8, generator=generator) - 2.0 * torch.eye(8)[labels]
    useless = torch.randn(2, 4000, 8, generator=generator)
    weights = fit_weights(torch.stack([good, *useless]), labels)
    assert (weights >= 0).all()
    assert float(weights[0]) == pytest.approx(2.0, rel=0.1)  # the likelihood ratio of the Gaussian
    assert float(weights[1:].max()) < 0.1


@pytest.mark.parametrize("fit_prior", [False, True])
def test_calibration_fits_levels_into_the_weights(
    make_faces: Callable[..., FaceSet], fit_prior: bool
) -> None:
    made = make("decoder", objective={"fit_prior": fit_prior})
    objective, faces = objective_of(made), make_faces(24)
    network = objective.emodc.eval()
    card = objective.calibrate(network, made[1], {"clean": faces})
    assert card.temperature != 1
    assert (network.timestep_weights >= 0).all()
    assert network.encoder.films.own_noise_floor > 0
    assert bool(network.log_prior.any()) == fit_prior
    errors, bins = level_errors(network, card, faces, level_centres())
    assert errors.shape == (16, 24, 8)
    assert bins.shape == (16, 24)


def test_levels_that_say_the_same_share_the_weight() -> None:
    """What is known is told by the sum of the weights: without a bound, any split of it fits."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(8, (4000,), generator=generator)
    good = torch.randn(4000, 8, generator=generator) - 2.0 * torch.eye(8)[labels]
    jitter = 0.02 * torch.randn(4, 4000, 8, generator=generator)
    bins = torch.tensor([9, 10, 11, 13])[:, None].expand(4, 4000)
    weights = fit_bin_weights(good + jitter, bins, labels)
    assert weights[[9, 10, 11, 13]].tolist() == pytest.approx([0.5] * 4, rel=0.1)
    assert weights[:16].tolist()[0] == pytest.approx(0.5, rel=0.1)  # of bins without errors


def test_a_level_that_misleads_gets_less_weight() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(8, (4000,), generator=generator)
    good = torch.randn(4000, 8, generator=generator) - 2.0 * torch.eye(8)[labels]
    useless = torch.randn(4000, 8, generator=generator)
    bins = torch.tensor([9, 13])[:, None].expand(2, 4000)
    weights = fit_bin_weights(torch.stack([good, useless]), bins, labels)
    assert float(weights[13]) < 0.2 * float(weights[9])


def test_each_quality_gets_the_levels_that_tell_its_faces_apart() -> None:
    """Bins 2 and 3 where the cell is even, 11 and 12 where it is odd; a cell of few faces gets
    those of all; the prior, where it tells everything, leaves nothing to the levels."""
    generator, n = torch.Generator().manual_seed(0), 2000
    labels, cells = (torch.randint(k, (n,), generator=generator) for k in (8, 8))
    errors = torch.randn(16, n, 8, generator=generator)
    right = torch.eye(8)[labels]
    for first, rows in ((2, cells % 2 == 0), (11, cells % 2 == 1)):
        for place in (first, first + 1):
            errors[place, rows] -= 2 * right[rows]
    bins, weights = fit_cells(errors, labels, cells, 2, torch.zeros(8))
    assert bins[:8].tolist() == [[2, 3], [11, 12]] * 4
    assert (weights >= 0).all()
    assert float((weights[:8] - 2).abs().max()) < 0.8
    assert set(bins[8].tolist()) <= {2, 3, 11, 12}  # no face at all in the ninth
    same = torch.zeros(n, dtype=torch.long)
    certain = fit_cells(errors, same, cells, 2, torch.tensor([50.0, *[0.0] * 7]))[1]
    assert float(certain.max()) < float(weights.min())


def test_faces_for_the_table_are_of_all_qualities(make_faces: Callable[..., FaceSet]) -> None:
    faces, rng = make_faces(70), np.random.default_rng(0)
    coarse = rng.integers(40, 216, (70, 6, 6)).repeat(8, axis=1).repeat(8, axis=2)
    tiles = (coarse + rng.integers(-20, 21, coarse.shape)).astype(np.uint8)
    faces = replace(faces, tiles=tiles)
    many = spread_quality({"clean": faces})
    assert len(many) == len(QUALITIES)
    assert np.array_equal(many[0].tiles, faces.tiles[: len(many[0])])
    noise = [
        float(measure_quality(build_inputs(each, make("base")[1]))[0].median()) for each in many
    ]
    assert noise[5] < noise[0] < noise[3]  # blurred, as they are, and noisier
    displays = {"udc_p/1": faces, "udc_p/2": faces[:10]}
    assert [len(each) for each in spread_quality(displays)] == [70, 9]


def test_calibration_fits_the_table_of_levels(make_faces: Callable[..., FaceSet]) -> None:
    made = make("decoder", network={"levels": "quality", "steps": 2})
    objective, faces = objective_of(made), make_faces(24)
    network = objective.emodc.eval()
    assert network.quality is not None
    assert not network.quality.is_fitted
    objective.calibrate(network, made[1], {"clean": faces})
    assert network.quality.is_fitted
    edges, levels = network.quality.edges, network.quality.levels
    assert (edges[:, 0] < edges[:, 1]).all()
    assert bool(((levels >= LEAST_SIGMA) & (levels <= MOST_SIGMA)).all())
    assert (levels[:, 0] < levels[:, 1]).all()
    assert (network.quality.weights >= 0).all()


@pytest.fixture
def smoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Trains a preset `smoke` on toy faces as the command does."""
    monkeypatch.setattr(run, "select_dtype", lambda threads: torch.float32)
    monkeypatch.setattr(run, "keep_freed_memory", lambda: None)

    def trained(model: str) -> Path:
        out = tmp_path / f"{model}.safetensors"
        recipe = find_preset(model, "smoke")
        run.train_weights("toy", recipe, run.toy_faces(), 0, out, tmp_path / "run")
        return out

    return trained


@pytest.mark.slow
@pytest.mark.parametrize("model", ["noise-resnet18", "emodc"])
def test_it_learns_toy_faces(smoke: Callable[[str], Path], model: str) -> None:
    others = run.toy_faces(200, seed=1)
    classifier = load_classifier(str(smoke(model)))
    assert mark_correct(predict(classifier, others), others).mean() >= 0.8  # of eight classes


def learn_by_heart(objective: EmoDCObjective, batch: Batch, stages: dict[str, int]) -> None:
    """So many steps of each stage on one batch; metrics are those of the last 50."""
    for stage, steps in stages.items():
        optimizer = torch.optim.AdamW(objective.parameters(stage), lr=2e-3)
        for step in range(steps):
            if step == steps - 50:
                objective.train_metrics()
            optimizer.zero_grad()
            objective.loss(stage, batch).backward()  # type: ignore[no-untyped-call]
            optimizer.step()


@pytest.fixture
def few() -> Batch:
    """32 smooth faces of eight classes."""
    generator = torch.Generator().manual_seed(3)
    x = torch.nn.functional.interpolate(torch.randn(32, 1, 4, 4, generator=generator), 16)
    targets = torch.nn.functional.one_hot(torch.arange(32) % 8, 8).float()
    return Batch(x, targets, torch.zeros(32, 2, 3), torch.arange(32))


@pytest.mark.slow
def test_the_noise_of_a_few_faces_is_learned_by_heart(few: Batch) -> None:
    """Predicting no noise has an error of 1."""
    objective = objective_of(make("base"))
    learn_by_heart(objective, few, {"base": 400})
    assert objective.train_metrics()["e_y"] < 0.6


@pytest.mark.slow
def test_a_few_faces_are_learned_by_heart(few: Batch) -> None:
    """Every one of them is recognised at 100 steps."""
    made = make("classifier", "decoder", network={"steps": 100, "low": 0.05})
    objective = objective_of(made)
    learn_by_heart(objective, few, {"classifier": 100, "decoder": 200})
    classifier = as_classifier(objective.emodc.eval(), made[1], flip=False)
    with torch.inference_mode():
        found = classifier.logits(few.x, np.arange(32)).argmax(dim=1)
    assert torch.equal(found, few.targets.argmax(dim=1))
