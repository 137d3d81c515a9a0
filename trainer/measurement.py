"""What a card says of its weights: metrics on faces of the validation split, under the conditions
that the weights were trained for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from models.card import class_figures
from models.loading import as_classifier
from models.udc.suites import CLEAN, UDC, UDC_REAL
from models.udc.suites import conditions as conditions_of
from models.weights import ModelCard
from trainer.compare.evaluate import apply_condition, match_crop, predict, tabulate_condition
from trainer.compare.report import tabulate_mean
from trainer.data.faceset import FaceSet


def apply_conditions(card: ModelCard, faces: FaceSet) -> dict[str, FaceSet]:
    """The faces, clean and, for weights that were trained under displays, under those of every
    severity, by the condition's name; in the geometry that the card names."""
    cells = conditions_of(",".join(_suites(card))) if _suites(card) else {}
    by_condition = {CLEAN: faces} | {cell: apply_condition(faces, cell) for cell in cells}
    # After the display, as in serving: whoever finds the points sees what the network sees.
    return {cell: match_crop(each, card) for cell, each in by_condition.items()}


def select_trained_for(conditions: Mapping[str, FaceSet]) -> dict[str, FaceSet]:
    """Those of `apply_conditions` that weights are calibrated under: displays, or clean faces."""
    displays = {cell: faces for cell, faces in conditions.items() if cell != CLEAN}
    return displays or dict(conditions)


def add_metrics(
    network: torch.nn.Module,
    card: ModelCard,
    conditions: Mapping[str, FaceSet],
    split: str = "validation cut",
) -> ModelCard:
    """The card with its metrics on a split under `apply_conditions`, with horizontal-flip TTA: of
    clean faces recall and precision per class and macro F1 as well; of displays the mean over
    severities."""
    classifier = as_classifier(network, card)
    tables = {
        cell: tabulate_condition(predict(classifier, faces), faces)
        for cell, faces in conditions.items()
    }
    clean = tables[CLEAN]
    per_class, macro_f1 = class_figures(card.labels, clean["confusion"])
    metrics = {f"{split}, horizontal-flip TTA": clean}
    for suite in _suites(card):
        rows = [tables[cell] for cell in conditions_of(suite)]
        metrics[f"{split}, {suite}, horizontal-flip TTA"] = tabulate_mean(rows)
    return replace(card, metrics=metrics, per_class=per_class, macro_f1=macro_f1)


def _suites(card: ModelCard) -> tuple[str, ...]:
    panel = card.recipe.get("panel")
    if not panel:
        return ()
    return (UDC, UDC_REAL) if panel.get("real") else (UDC,)
