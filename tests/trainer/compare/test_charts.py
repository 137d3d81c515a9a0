"""Drawings hold the numbers of the tables; features are what the last layer is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models.crops import crops_from_tiles
from models.errors import ModelError
from models.loading import as_classifier, build_network
from models.model_input import to_model_input
from models.udc.suites import CLEAN, SEVERITIES, conditions
from models.weights import ModelCard, save
from trainer.compare.charts import (
    Panel,
    draw_all,
    draw_confusion_matrix,
    draw_scatter,
    draw_severities,
    group_comparable,
)
from trainer.compare.evaluate import Predictions, tabulate_condition
from trainer.compare.features import extract_features, project_features
from trainer.compare.predictions import describe_evaluation, save_predictions
from trainer.compare.tables import Evaluation, build_rows, load_evaluations
from trainer.data.faceset import FaceSet
from trainer.recipes import RandomPanel

CELLS = (CLEAN, *conditions("udc_t,udc_p"))
N = 200


@pytest.fixture
def keep(
    tmp_path: Path, tiny_card: ModelCard, make_faces: Callable[..., FaceSet]
) -> Callable[..., Path]:
    """Keep predictions of a made model that is right less often the harder it gets."""
    faces, folder = make_faces(N), tmp_path / "saved"

    def write_all(
        name: str,
        model: str = "resnet18",
        share: float = 0.9,
        panel: bool = False,
        **network: int | str,
    ) -> Path:
        weights = tmp_path / f"{name}.safetensors"
        recipe: dict[str, Any] = {"panel": asdict(RandomPanel()) if panel else None}
        card = replace(tiny_card, name=name, model=model, recipe=recipe, network=network)
        save(weights, card, {"a": torch.full((1,), share)})
        about = describe_evaluation(weights, faces, "flip", "tiles")
        for number, cell in enumerate(CELLS):
            right = np.random.default_rng(number).random(N) < share - 0.04 * number
            predicted = np.where(right, faces.labels, (faces.labels + 1) % 8)
            predictions = Predictions(np.eye(8, dtype=np.float32)[predicted], np.ones(N, bool))
            save_predictions(folder, about, cell, predictions, faces)
        return folder

    return write_all


def only(folder: Path) -> Evaluation:
    (one,) = load_evaluations(folder)
    return one


def test_a_confusion_is_that_of_the_table(keep: Callable[..., Path]) -> None:
    one = only(keep("a"))
    table = tabulate_condition(one.predictions[CLEAN], one.faces)
    counts = np.array(table["confusion"])
    (axes,) = draw_confusion_matrix(one).axes
    shares = axes.images[0].get_array()
    np.testing.assert_allclose(shares, counts / counts.sum(axis=1, keepdims=True))
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert len(written) == np.count_nonzero(counts)
    for (column, row), text in written.items():
        assert text == f"{100 * counts[row, column] / counts[row].sum():.0f}"
    assert f"accuracy {table['accuracy']:.1%}" in axes.get_title()
    assert [text.get_text().split()[0] for text in axes.get_yticklabels()] == list(
        one.faces.classes
    )


def test_a_label_that_nobody_has_is_an_empty_row(keep: Callable[..., Path]) -> None:
    one = only(keep("a"))
    others = one.faces.labels != 3
    few = Evaluation(one.about, one.faces[others], {CLEAN: one.predictions[CLEAN][others]})
    (axes,) = draw_confusion_matrix(few).axes
    assert np.asarray(axes.images[0].get_array())[3].tolist() == [0] * 8


def test_curves_are_those_of_the_table(keep: Callable[..., Path]) -> None:
    keep("a", share=0.9)
    every = load_evaluations(keep("b", share=0.7))
    (group,) = group_comparable(every).values()
    drawn = draw_severities(group)
    assert drawn is not None
    assert [axes.get_title() for axes in drawn.axes] == ["udc_t", "udc_p"]
    for axes in drawn.axes:
        lines = {str(line.get_label()): line for line in axes.lines}
        for one in group:
            line = lines[one.about["weights"]]
            assert list(line.get_xdata()) == [0, *SEVERITIES]
            cells = [CLEAN, *(f"{axes.get_title()}/{level}" for level in SEVERITIES)]
            wanted = [tabulate_condition(one.predictions[c], one.faces)["accuracy"] for c in cells]
            np.testing.assert_allclose(line.get_ydata(), 100 * np.array(wanted), atol=1e-3)
    row = next(row for row in build_rows(every) if row["weights"] == "a")
    line = next(line for line in drawn.axes[1].lines if line.get_label() == "a")
    assert np.mean(np.asarray(line.get_ydata())[1:]) == pytest.approx(100 * row["udc_p"], abs=1e-3)


def test_who_saw_displays_stands_apart(keep: Callable[..., Path]) -> None:
    keep("a")
    folder = keep("b", panel=True)
    groups = group_comparable(load_evaluations(folder))
    assert [[one.about["weights"] for one in group] for group in groups.values()] == [["a"], ["b"]]
    assert set(dict(draw_all(load_evaluations(folder)))) == {
        *("confusion-a-clean-trained", "severity-clean-trained"),
        *("confusion-b-displays", "severity-displays"),
    }


def test_drawings_of_two_files_of_one_name_are_told_apart(keep: Callable[..., Path]) -> None:
    one = only(keep("a"))
    other = Evaluation(one.about | {"sha256": "f" * 64}, one.faces, one.predictions)
    names = [name for name, _ in draw_all([one, other])]
    assert names == [
        *(f"confusion-a-{one.about['sha256'][:8]}", "confusion-a-ffffffff", "severity")
    ]


def test_nothing_to_compare_nothing_drawn(keep: Callable[..., Path]) -> None:
    one = only(keep("a"))
    clean = Evaluation(one.about, one.faces, {CLEAN: one.predictions[CLEAN]})
    assert draw_severities([clean]) is None
    assert [
        name
        for name, _ in draw_all(load_evaluations(keep("l4", "lrdif", steps=4)))
        if "steps" in name
    ] == []


def test_accuracy_over_steps_is_that_of_the_table(keep: Callable[..., Path]) -> None:
    for t, share in ((8, 0.85), (1, 0.6), (2, 0.7)):
        keep(f"t{t}", "lrdif", share, steps=t)
    keep("none", "lrdif", 0.1, restorer="none")  # of the same step count, and another network
    every = load_evaluations(
        keep("plain", "lrdif", 0.8)
    )  # a card without a word on steps: four of them
    (drawn,) = [figure for name, figure in draw_all(every) if name.startswith("steps-")]
    table = {row["weights"]: row for row in build_rows(every)}
    (axes,) = drawn.axes
    for container in axes.containers:
        line = container[0]
        assert list(line.get_xdata()) == [1, 2, 4, 8]
        predictions = [table[name][container.get_label()] for name in ("t1", "t2", "plain", "t8")]
        np.testing.assert_allclose(line.get_ydata(), 100 * np.array(predictions), atol=1e-3)
    assert len(axes.containers) == 4


CARDS: dict[str, dict[str, Any]] = {
    "resnet18": {"model": "resnet18", "network": {"width": 8, "stem_stride": 2}},
    "lrdif": {
        "model": "lrdif",
        "network": {"prior": 12, "input_px": 24, "widths": [8, 16, 32], "width": 16},
    },
}


@pytest.mark.parametrize("what", CARDS)
def test_features_are_what_the_last_layer_is_given(
    what: str, tiny_card: ModelCard, make_faces: Callable[..., FaceSet], tmp_path: Path
) -> None:
    card, faces = replace(tiny_card, **CARDS[what]), make_faces(5)
    network, path = build_network(card).eval(), tmp_path / "w.safetensors"
    save(path, card, network.state_dict())
    features = extract_features(str(path), faces)
    assert features.shape == (5, {"resnet18": 64, "lrdif": 16}[what])
    head: nn.Linear = (network if what == "resnet18" else network.former).head  # type: ignore
    x = to_model_input(crops_from_tiles(faces.tiles), card)
    with torch.inference_mode():
        wanted = as_classifier(network, card, flip=False).logits(x, faces.ids)
        found = head(torch.from_numpy(features))
    torch.testing.assert_close(found, wanted, atol=2e-3, rtol=2e-3)  # kept as float16


def test_a_network_without_a_last_layer(
    tiny_card: ModelCard, make_faces: Callable[..., FaceSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    headless = nn.Sequential(nn.Flatten(), nn.Linear(576, 8))
    monkeypatch.setattr("trainer.compare.features.load_network", lambda name: (headless, tiny_card))
    with pytest.raises(ModelError, match="resnet18 has no linear head: w: use other"):
        extract_features("w", make_faces(4))


def test_groups_that_lie_apart_are_laid_apart() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = (rng.standard_normal((60, 20)) + 20 * np.eye(3, 20)[labels]).astype(np.float32)
    places = project_features(features)
    assert np.array_equal(places, project_features(features))
    for row in range(60):
        distance = np.linalg.norm(places - places[row], axis=1)
        distance[row] = np.inf
        assert labels[distance.argmin()] == labels[row]
    assert project_features(features[:4]).shape == (4, 2)


def test_a_scatter_holds_every_face_in_its_colour() -> None:
    rng = np.random.default_rng(0)
    panels = [
        Panel(f"p{k}", rng.random((9, 2)).astype(np.float32), np.arange(9) % 2, ("a", "b"))
        for k in range(5)
    ]
    figure = draw_scatter(panels, columns=3)
    assert [axes.get_title() for axes in figure.axes] == ["p0", "p1", "p2", "p3", "p4"]
    for axes, panel in zip(figure.axes, panels, strict=True):
        np.testing.assert_allclose(axes.collections[0].get_offsets(), panel.places)
        colours = axes.collections[0].get_facecolor()
        assert len(np.unique(np.asarray(colours)[panel.labels == 0], axis=0)) == 1
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
