"""Attacks on tiny networks of every kind: within bounds, by the true gradient, with the very noise
that scores, and pgd no weaker than fgsm."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from models.crops import ALIGNED, GEOMETRY, crops_from_tiles
from models.emotions import EMOTIONS
from models.loading import as_classifier, build_network, fold_batch_norm
from models.model_input import to_model_input
from models.serving import SoftmaxClassifier
from models.weights import ModelCard
from trainer.compare import adversarial
from trainer.compare.adversarial import (
    ATTACKS,
    Attack,
    attack_faces,
    loss_gradient,
    loss_of,
    measure_robustness,
    select_faces,
    tabulate_robustness,
    tiles_to_input,
    to_tiles,
)
from trainer.compare.evaluate import mark_correct, predict
from trainer.data.faceset import FaceSet
from trainer.errors import DataError, OptionError

TINY: dict[str, dict[str, Any]] = {
    "resnet18": {"width": 8, "stem_stride": 2, "dropout": 0.0},
    "lrdif": {
        **{"prior": 12, "input_px": 16, "widths": [8, 16, 32], "dt_widths": [8, 16, 32]},
        **{"width": 16, "dropout": 0.0},
    },
    "noise-resnet18": {"width": 8, "dropout": 0.0, "steps": 2},
    "emodc": {"width": 8, "dropout": 0.0, "steps": 2},
}
EACH = pytest.mark.parametrize("model", TINY)


def make_classifier(
    model: str, options: dict[str, Any] | None = None, **card: Any
) -> SoftmaxClassifier:
    """Random weights whose predictions differ between faces and classes."""
    torch.manual_seed(0)
    made = ModelCard(
        *("tiny", model, TINY[model], EMOTIONS, 16, 1, (0.5,), (0.25,), GEOMETRY, "made", "none")
    )
    network = build_network(made)
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.05 * torch.randn_like(value))
    return as_classifier(fold_batch_norm(network), replace(made, **card), **(options or {}))


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    """Smooth tiles, ids apart, each labelled as the ResNet predicts it."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 216, (24, 6, 6)).repeat(8, axis=1).repeat(8, axis=2)
    tiles = np.clip(coarse + rng.normal(0, 6, coarse.shape), 0, 255).astype(np.uint8)
    ids = rng.integers(0, 2**40, 24)
    made = FaceSet.of_labels("made", EMOTIONS, tiles, np.zeros(24, np.int64), ids)
    predicted = predict(make_classifier("resnet18"), made).predicted
    return FaceSet.of_labels("made", EMOTIONS, tiles, predicted, ids)


def relabel(faces: FaceSet, classifier: SoftmaxClassifier) -> FaceSet:
    return FaceSet.of_labels(
        *(faces.name, faces.classes, faces.tiles, predict(classifier, faces).predicted, faces.ids)
    )


@EACH
def test_the_gradient_is_that_of_finite_differences(model: str, faces: FaceSet) -> None:
    options = {"own_noise": "ignore"} if model in ("noise-resnet18", "emodc") else {}
    classifier, some = make_classifier(model, options), faces[:3]
    x, labels = to_tiles(some), torch.from_numpy(some.labels)
    for draws in ((0,), (1, 2)):
        gradient = loss_gradient(classifier, x, some.ids, labels, draws)
        length = gradient.flatten(1).norm(dim=1)
        assert float(length.min()) > 1e-4
        h = 5e-4
        step = h * gradient / length[:, None, None, None]
        up, down = (
            torch.stack([loss_of(classifier, x + s, some.ids, labels, d) for d in draws]).mean(
                dim=0
            )
            for s in (step, -step)
        )
        torch.testing.assert_close((up - down) / (2 * h), length, rtol=0.1, atol=5e-3)


@EACH
def test_tiles_become_the_input_that_scoring_sees_with_the_same_noise(
    model: str, faces: FaceSet
) -> None:
    """The loss that is attacked is that of the scored probabilities: same noise, by the id."""
    classifier, some = make_classifier(model), faces[:4]
    x = tiles_to_input(to_tiles(some), classifier.card)
    served = to_model_input(crops_from_tiles(some.tiles), classifier.card)
    assert float((x - served).abs().max()) < 0.02  # the crop is rounded to 8 bits
    labels = torch.from_numpy(some.labels)
    with torch.no_grad():
        attacked = loss_of(classifier, to_tiles(some), some.ids, labels, 0)
        other = loss_of(classifier, to_tiles(some), some.ids + 1, labels, 0)
    scored = predict(classifier, some).probabilities[np.arange(4), some.labels]
    np.testing.assert_allclose(attacked.numpy(), -np.log(scored), atol=0.05, rtol=0.02)
    assert bool((attacked != other).any()) == (model != "resnet18")


@pytest.mark.parametrize("attack", [Attack(1), Attack(4), Attack(2, 5), Attack(4, 3, (0, 1))])
def test_no_pixel_moves_further_than_allowed(attack: Attack, faces: FaceSet) -> None:
    black_and_white = faces.tiles.copy()
    black_and_white[0], black_and_white[1] = 0, 255
    some = replace(faces, tiles=black_and_white)[:6]
    moved = attack_faces(make_classifier("noise-resnet18"), some, attack)
    assert moved.tiles.dtype == np.uint8
    change = np.abs(moved.tiles.astype(int) - some.tiles)
    assert change.max() == attack.eps
    assert np.array_equal(moved.labels, some.labels)
    assert change.mean() > 0.2 * attack.eps


def test_colours_move_too_and_the_batch_does_not_matter(
    faces: FaceSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    coloured = replace(faces, tiles=faces.tiles[..., None].repeat(3, axis=3))[:5]
    classifier, attack = make_classifier("emodc"), Attack(2, 2)
    together = attack_faces(classifier, coloured, attack).tiles
    assert together.shape == (5, 48, 48, 3)
    assert 0 < np.abs(together.astype(int) - coloured.tiles).max() <= 2
    monkeypatch.setattr(adversarial, "BATCH", 2)
    again = attack_faces(classifier, coloured, attack).tiles
    assert np.mean(again == together) > 0.99  # a sign may turn where a gradient is nearly zero


@pytest.mark.parametrize("model", ["resnet18", "noise-resnet18", "emodc"])
def test_pgd_is_no_weaker_than_fgsm_and_both_than_noise(model: str, faces: FaceSet) -> None:
    """By the faces that are left, and by the loss: of noisy copies, too, whose levels follow the
    noise that is measured in a face."""
    classifier = make_classifier(model)
    known = relabel(faces, classifier)[:16]
    noise = np.random.default_rng(1).choice([-4, 4], known.tiles.shape)
    shaken = replace(known, tiles=np.clip(known.tiles + noise, 0, 255).astype(np.uint8))
    seen = {"noise": shaken}
    seen |= {name: attack_faces(classifier, known, Attack.of(name, 4)) for name in ("fgsm", "pgd")}
    left, losses = {}, {}
    for name, moved in seen.items():
        predictions = predict(classifier, moved)
        left[name] = float(mark_correct(predictions, known).mean())
        likely = predictions.probabilities[np.arange(16), known.labels]
        losses[name] = float(-np.log(np.maximum(likely, 1e-12)).mean())
    error = (left["fgsm"] * (1 - left["fgsm"]) / len(known)) ** 0.5
    assert left["pgd"] <= left["fgsm"] + error
    assert losses["noise"] < min(losses["fgsm"], losses["pgd"])
    if model == "resnet18":
        assert left["pgd"] < left["noise"]


def test_faces_are_those_of_the_smallest_hash_and_new(faces: FaceSet) -> None:
    twice = faces.concatenate(faces[:4])
    hashes = sorted(set(faces.hashes()))
    assert select_faces(twice, 10).hashes() == hashes[:10]
    seen = np.isin(faces.hashes(), hashes[:3])
    marked = replace(faces, seen_in_training=seen)
    assert select_faces(marked, 10).hashes() == hashes[3:13]
    assert len(select_faces(marked, 200)) == 21


def test_every_family_under_every_attack_in_one_table(
    faces: FaceSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adversarial, "STEPS", 2)
    monkeypatch.setattr(adversarial, "DRAWS", 2)
    classifiers = {model: make_classifier(model) for model in TINY}
    lines: list[str] = []
    found = measure_robustness(
        classifiers, faces[:4], [2], ATTACKS, classifiers["resnet18"], lines.append
    )
    table = tabulate_robustness(found, [2])
    for model, row in table["weights"].items():
        drawn = [name for name in ATTACKS if name != "eot" or model != "resnet18"]
        assert list(row["attacks"]) == drawn
        worst = min(row["attacks"][name]["2"]["accuracy"] for name in drawn)
        assert row["strongest"]["2"]["accuracy"] == worst
        error = (worst * (1 - worst) / 4) ** 0.5
        assert row["strongest"]["2"]["standard_error"] == pytest.approx(error, abs=1e-5)
    assert table["weights"]["resnet18"]["clean"]["accuracy"] == 1
    assert len(lines) == 15
    assert [one["against"] for one in table["differences"]] == [*TINY][1:]
    first, second = (table["weights"][name]["strongest"]["2"] for name in [*TINY][:2])
    gain = table["differences"][0]["delta"]
    assert gain == pytest.approx(first["accuracy"] - second["accuracy"])
    # Transferred tiles of the source are those of its own pgd.
    ours = table["weights"]["resnet18"]["attacks"]
    assert ours["transfer"] == ours["pgd"]


def test_what_cannot_be_attacked(faces: FaceSet) -> None:
    with pytest.raises(DataError, match="tiles of 'square-1.0' for weights of 'aligned"):
        attack_faces(make_classifier("resnet18", crop=ALIGNED), faces, Attack(1))
    with pytest.raises(ValueError, match="give 1 or more"):
        Attack(0)
    with pytest.raises(OptionError, match="no such attack: cw: give some of fgsm, pgd"):
        measure_robustness({"a": make_classifier("resnet18")}, faces, [1], ["cw"])
