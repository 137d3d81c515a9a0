"""What a run was given: what a fair comparison holds equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.registry import FAMILIES
from trainer.objectives import objective_class

Card = Mapping[str, Any]
"""The fields of a ModelCard that stand beside kept predictions."""


def passes(card: Card) -> int:
    """Over the training faces, in all stages but that of the landmarks."""
    return sum(stage["epochs"] for stage in _stages(card))


def teachers(card: Card) -> tuple[str, ...]:
    """The weights that it also learned from."""
    return tuple((card["recipe"].get("distil") or {}).get("teachers", ()))


def saw_displays(card: Card) -> bool:
    """Whether it learned from faces behind simulated displays too."""
    return bool(card["recipe"].get("panel"))


def learned_alike(one: Card, other: Card) -> bool:
    """Whether both had as many passes over faces as large, and the same teachers."""
    return _given(one) == _given(other)


def is_complete(card: Card) -> bool:
    """Whether a network is as its paper has it, or of a family that has no controls."""
    complete = FAMILIES[card["model"]].complete
    network = {**complete, **card["network"]}
    return all(network[name] == value for name, value in complete.items())


def is_control(card: Card, complete: Card) -> bool:
    """Whether a network is the `complete` one's but for what makes it that, or for its number of
    steps, which is 1."""
    if card["model"] != complete["model"] or not FAMILIES[card["model"]].complete:
        return False
    whole = FAMILIES[card["model"]].complete
    ours, theirs = ({**whole, **each["network"]} for each in (complete, card))
    others = whole.keys() - {"steps"}
    less = any(theirs[name] != whole[name] for name in others) or theirs.get("steps") == 1
    alike = all(ours.get(name) == theirs.get(name) for name in {*ours, *theirs} - whole.keys())
    return is_complete(complete) and alike and less


def _stages(card: Card) -> list[dict[str, Any]]:
    recipe = card["recipe"]
    passed_over = objective_class(card["model"], recipe.get("objective") or {}).auxiliary_stages
    return [stage for stage in recipe.get("stages", ()) if stage["name"] not in passed_over]


def _given(card: Card) -> tuple[Any, ...]:
    epochs_at: dict[int, float] = {}
    for stage in _stages(card):
        ends = [share for share, _ in stage["resolution"][1:]] + [1.0]
        for (begins, px), end in zip(stage["resolution"], ends, strict=True):
            epochs_at[px] = epochs_at.get(px, 0) + (end - begins) * stage["epochs"]
    share = (card["recipe"].get("distil") or {}).get("share", 0)
    return sorted(epochs_at.items()), teachers(card), share
