"""The condition door: categorical descriptions, as a table of embeddings or as words.

`ids` has a row for each emotion and one for none. `text` describes each emotion in as many phrases
as REGIONS, after the prototypes of the Facial Action Coding System (Ekman & Friesen 1978), and a
network reads them by cross-attention. Emotions share phrases, and the table of all phrases is the
same for every set of emotions, so that its weights carry over from one data set to another.

A compound emotion, of RAF-DB, is composed of two basic ones: happily surprised is
Linear(e_happiness + e_surprise), phrase by phrase where there are phrases.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from models.emodc.encoder import EMBEDDING, zero_linear
from models.emotions import BASIC_SEVEN, COMPOUND_EMOTIONS

CONDITIONS = ("ids", "text")
REGIONS = ("expression", "brows", "eyes", "nose", "mouth")
"""What the phrases of a description are about, in order."""
DESCRIPTIONS: dict[str, tuple[str, ...]] = {
    "neutral": ("neutral", "brows at rest", "eyes at rest", "nose at rest", "mouth at rest"),
    "happiness": ("happy", "brows at rest", "cheeks raised", "nose at rest", "lip corners up"),
    "surprise": ("surprised", "brows raised", "eyes wide open", "nose at rest", "jaw dropped"),
    "sadness": ("sad", "inner brows raised", "eyes at rest", "nose at rest", "lip corners down"),
    "anger": ("angry", "brows lowered", "eyes narrowed", "nose at rest", "lips pressed"),
    "disgust": ("disgusted", "brows lowered", "eyes at rest", "nose wrinkled", "upper lip raised"),
    "fear": ("afraid", "brows raised", "eyes wide open", "nose at rest", "lips stretched"),
    "contempt": (
        *("contemptuous", "brows at rest", "eyes at rest", "nose at rest"),
        "one lip corner up",
    ),
}
"""By emotion, the phrases of REGIONS."""
EMPTY = ""
"""The phrase, in all places, of no description."""
PHRASES = tuple(dict.fromkeys([EMPTY, *(one for each in DESCRIPTIONS.values() for one in each)]))
HEADS = 4


class Composition(nn.Module):
    """Classes, and last none, as rows of a table of `names`, and last none; those of a compound
    emotion are two, added and brought back by `linear`, which starts as the identity.

    Raises ValueError for a label that is neither basic nor compound where one is compound.
    """

    pairs: Tensor

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__()
        has_compound = any(label in COMPOUND_EMOTIONS for label in labels)
        self.names = BASIC_SEVEN if has_compound else tuple(labels)
        parts = [COMPOUND_EMOTIONS.get(label, (label, label)) for label in labels]
        unknown = [part for pair in parts for part in pair if part not in self.names]
        if unknown:
            known = ", ".join([*BASIC_SEVEN, *COMPOUND_EMOTIONS])
            raise ValueError(f"label {unknown[0]!r} beside compound ones: give {known}")
        rows = [[self.names.index(part) for part in pair] for pair in parts]
        pairs = torch.tensor([*rows, [len(self.names)] * 2])
        self.register_buffer("pairs", pairs, persistent=False)
        self.linear: nn.Linear | None = None
        if has_compound:
            self.linear = nn.Linear(EMBEDDING, EMBEDDING)
            nn.init.eye_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)

    def forward(self, classes: Tensor, describe: Callable[[Tensor], Tensor]) -> Tensor:
        """What `describe` gives for rows, (n, ..., EMBEDDING), for classes (n,)."""
        first, second = self.pairs[classes].unbind(dim=1)
        described = describe(first)
        if self.linear is None:
            return described
        composed = self.linear(described + describe(second))
        is_compound = (first != second).view(-1, *[1] * (described.ndim - 1))
        return torch.where(is_compound, composed, described)


class IdDescriptions(nn.Embedding):
    """Classes (n,) int64, 0 to `classes` for none -> (n, EMBEDDING): a table with a row for each,
    or, with `labels` of which some are compound, for each basic emotion."""

    def __init__(self, classes: int, labels: Sequence[str] = ()) -> None:
        composition = Composition(labels) if labels else None
        rows = len(composition.names) if composition else classes
        super().__init__(rows + 1, EMBEDDING)
        self.composition = composition

    def forward(self, classes: Tensor) -> Tensor:
        if self.composition is None:
            return super().forward(classes)
        composed: Tensor = self.composition(classes, super().forward)
        return composed


class TextDescriptions(nn.Module):
    """Classes (n,) int64, the number of them for none -> their phrases (n, REGIONS, EMBEDDING).

    A phrase is a row of a table that is learned with the network. With `encodings`, the size of a
    text encoder's vectors, it is a learned projection of what that encoder made of the phrase: the
    buffer `encodings` (PHRASES, size), which training fills once
    (`trainer.objectives.emodc`). Either way the weights hold all of it, and serving needs no
    text encoder. Raises ValueError for a label without a description.
    """

    rows: Tensor
    encodings: Tensor

    def __init__(self, labels: Sequence[str], encodings: int = 0) -> None:
        super().__init__()
        self.composition = Composition(labels)
        unknown = [name for name in self.composition.names if name not in DESCRIPTIONS]
        if unknown:
            known = ", ".join([*DESCRIPTIONS, *COMPOUND_EMOTIONS])
            raise ValueError(f"no description of {unknown[0]!r}: give {known}")
        described = [DESCRIPTIONS[name] for name in self.composition.names]
        table = [[PHRASES.index(phrase) for phrase in each] for each in described]
        rows = torch.tensor([*table, [PHRASES.index(EMPTY)] * len(REGIONS)])
        self.register_buffer("rows", rows, persistent=False)
        self.phrases: nn.Module
        if encodings:
            self.register_buffer("encodings", torch.zeros(len(PHRASES), encodings))
            self.phrases = nn.Linear(encodings, EMBEDDING)
        else:
            self.phrases = nn.Embedding(len(PHRASES), EMBEDDING)

    def forward(self, classes: Tensor) -> Tensor:
        described: Tensor = self.composition(classes, self._describe)
        return described

    def _describe(self, rows: Tensor) -> Tensor:
        phrases = self.rows[rows]
        is_table = isinstance(self.phrases, nn.Embedding)
        described: Tensor = self.phrases(phrases if is_table else self.encodings[phrases])
        return described


class CrossAttention(nn.Module):
    """What each place of maps (n, channels, h, w) reads of a description (n, REGIONS, EMBEDDING):
    (n, outputs, h, w), at the start zero."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.queries = nn.Linear(channels, EMBEDDING, bias=False)
        self.keys = nn.Linear(EMBEDDING, EMBEDDING, bias=False)
        self.values = nn.Linear(EMBEDDING, EMBEDDING, bias=False)
        self.out = zero_linear(outputs)

    def forward(self, maps: Tensor, description: Tensor) -> Tensor:
        queries = _to_heads(self.queries(self.norm(maps.flatten(2).transpose(1, 2))))
        keys, values = (_to_heads(part(description)) for part in (self.keys, self.values))
        match = queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[3])
        read = (match.softmax(dim=3) @ values).transpose(1, 2).flatten(2)
        return torch.unflatten(self.out(read).transpose(1, 2), 2, maps.shape[2:])


def _to_heads(x: Tensor) -> Tensor:
    """(n, m, EMBEDDING) -> (n, HEADS, m, EMBEDDING / HEADS)."""
    return torch.unflatten(x, 2, (HEADS, -1)).transpose(1, 2)
