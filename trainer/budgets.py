"""What a run was given: what a fair comparison holds equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

POINTS = "points"
"""The stage that learns landmarks, before faces are looked at for their expressions."""
PLAIN = {"restorer": "diffusion", "steps": 4}
"""LRDif as it is, where its card does not say otherwise."""

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


def is_plain(card: Card) -> bool:
    """Whether a network is as its model stands in the paper, or of a model that has no controls."""
    network = PLAIN | dict(card["network"])
    return card["model"] != "lrdif" or all(network[name] == PLAIN[name] for name in PLAIN)


def is_control(card: Card, plain: Card) -> bool:
    """Whether a network is `plain`'s without its diffusion over several steps."""
    ours, theirs = (PLAIN | dict(each["network"]) for each in (plain, card))
    less = theirs["restorer"] != PLAIN["restorer"] or theirs["steps"] == 1
    alike = all(ours.get(name) == theirs.get(name) for name in {*ours, *theirs} - PLAIN.keys())
    return card["model"] == plain["model"] == "lrdif" and is_plain(plain) and alike and less


def _stages(card: Card) -> list[dict[str, Any]]:
    return [stage for stage in card["recipe"].get("stages", ()) if stage["name"] != POINTS]


def _given(card: Card) -> tuple[Any, ...]:
    epochs_at: dict[int, float] = {}
    for stage in _stages(card):
        ends = [share for share, _ in stage["resolution"][1:]] + [1.0]
        for (begins, px), end in zip(stage["resolution"], ends, strict=True):
            epochs_at[px] = epochs_at.get(px, 0) + (end - begins) * stage["epochs"]
    share = (card["recipe"].get("distil") or {}).get("share", 0)
    return sorted(epochs_at.items()), teachers(card), share
