"""The budget of a training run, read from its card: what a fair comparison holds equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.registry import FAMILIES
from trainer.objectives import find_objective
from trainer.objectives.base import Objective

Card = Mapping[str, Any]
"""The fields of a ModelCard that are saved with predictions."""


def count_epochs(card: Card) -> int:
    """Epochs over the training faces, in all stages but auxiliary ones such as landmarks."""
    return sum(stage["epochs"] for stage in _stages(card))


def list_teachers(card: Card) -> tuple[str, ...]:
    """The weights that were distilled into it."""
    return tuple(_distillation(card).get("teachers", ()))


def is_udc_trained(card: Card) -> bool:
    """Whether it was also trained on faces under simulated displays."""
    return bool(card["recipe"].get("panel"))


def have_equal_budgets(one: Card, other: Card) -> bool:
    """Whether both had as many epochs at each resolution, and the same teachers."""
    return _budget(one) == _budget(other)


def is_complete(card: Card) -> bool:
    """Whether a network is as its paper has it, or of a family without ablations."""
    complete = FAMILIES[card["model"]].complete
    network = {**complete, **card["network"]}
    return all(network[name] == value for name, value in complete.items())


def is_control(card: Card, complete: Card) -> bool:
    """Whether a network differs from the `complete` one only by an ablation, or by taking a single
    sampling step."""
    if card["model"] != complete["model"] or not FAMILIES[card["model"]].complete:
        return False
    method = FAMILIES[card["model"]].complete
    ours, theirs = ({**method, **each["network"]} for each in (complete, card))
    # The number of steps alone is a sweep, not an ablation: with more than one step the network
    # still does what its paper says.
    ablatable = method.keys() - {_objective(card).steps_setting}
    is_ablated = any(theirs[name] != method[name] for name in ablatable) or count_steps(card) == 1
    is_alike = all(ours.get(name) == theirs.get(name) for name in {*ours, *theirs} - method.keys())
    return is_complete(complete) and is_alike and is_ablated


def count_steps(card: Card) -> int | None:
    """Sampling steps of a network, None for one of a family without any."""
    settings = {**FAMILIES[card["model"]].complete, **card["network"]}
    steps = settings.get(_objective(card).steps_setting)
    return None if steps is None else int(steps)


def without_steps(card: Card) -> dict[str, Any]:
    """What else a network and its training depend on: networks of a sweep have this in common."""
    network = {**card["network"], _objective(card).steps_setting: None}
    return {"network": network, "recipe": {**card["recipe"], "network": None}}


def _objective(card: Card) -> type[Objective]:
    return find_objective(card["model"], card["recipe"].get("objective") or {})


def _stages(card: Card) -> list[dict[str, Any]]:
    auxiliary = _objective(card).auxiliary_stages
    return [stage for stage in card["recipe"].get("stages", ()) if stage["name"] not in auxiliary]


def _distillation(card: Card) -> dict[str, Any]:
    """Older cards call it `distil`, and its weight `share`."""
    recipe = card["recipe"]
    found: dict[str, Any] = recipe.get("distillation") or recipe.get("distil") or {}
    return found


def _budget(card: Card) -> tuple[Any, ...]:
    epochs_at: dict[int, float] = {}
    for stage in _stages(card):
        ends = [share for share, _ in stage["resolution"][1:]] + [1.0]
        for (start, px), end in zip(stage["resolution"], ends, strict=True):
            epochs_at[px] = epochs_at.get(px, 0) + (end - start) * stage["epochs"]
    distillation = _distillation(card)
    weight = distillation.get("weight", distillation.get("share", 0))
    how = weight, distillation.get("view", "same"), distillation.get("temperature", 1)
    return sorted(epochs_at.items()), list_teachers(card), how
