"""The JSON of a model card, from an untrusted file: bounded before anything is made of it."""

from __future__ import annotations

import json
import math
import re
from typing import Any

MOST_CHARACTERS = 1_000_000
MOST_DEPTH = 32
MOST_ARGUMENT = 4096
"""The largest number that builds a network: no layer of ours is half as wide."""
MOST_ARGUMENTS = 64
MOST_INTEGER = 2**63 - 1
MOST_QUOTED = 200
"""Characters of a card that an error repeats."""


def read_json(text: str) -> Any:
    """The value of a JSON text; raises ValueError where it is too long, too deep, no JSON, or holds
    a number or text that cannot be written again."""
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"{len(text)} characters, at most {MOST_CHARACTERS}")
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError(f"nested deeper than {MOST_DEPTH}") from None
    level = [found]
    for _ in range(MOST_DEPTH):
        level = [inner for value in level for inner in _inner_values(value)]
    if level:
        raise ValueError(f"nested deeper than {MOST_DEPTH}")
    return found


def _inner_values(value: Any) -> list[Any]:
    """The values inside a value; raises ValueError for one that cannot be written again."""
    match value:
        case dict():
            return [*value, *value.values()]
        case list():
            return value
        case str():
            value.encode()  # half of a surrogate pair is a ValueError
        case float() if not math.isfinite(value):
            raise ValueError(f"the number {value}")
        case int() if abs(value) > MOST_INTEGER:
            raise ValueError("a number of more than 64 bits")
    return []


def is_line(value: object, most: int = 200) -> bool:
    """Whether a value is text that fits into a message."""
    return isinstance(value, str) and len(value) <= most and value.isprintable()


def is_number(value: object, least: float, most: float) -> bool:
    """Whether a value is a finite number within bounds."""
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and least <= float(value) <= most  # type: ignore[arg-type]


def is_integer(value: object, least: int, most: int) -> bool:
    """Whether a value is a whole number within bounds."""
    return isinstance(value, int) and is_number(value, least, most)


def is_digest(value: object) -> bool:
    """Whether a value is a sha256 in hexadecimal, lower case."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def shorten(text: str) -> str:
    """Text of a file as an error may quote it: one printable line of at most 200 characters."""
    line = " ".join(text.split())
    line = line if line.isprintable() else repr(line)
    return line if len(line) <= MOST_QUOTED else f"{line[:MOST_QUOTED]}..."


def are_arguments(value: object) -> bool:
    """Whether a value is keyword arguments of a network that can be built in bounded memory."""
    if not isinstance(value, dict) or len(value) > MOST_ARGUMENTS:
        return False
    flat = [
        one
        for argument in value.values()
        for one in (argument if isinstance(argument, list | tuple) else [argument])
    ]
    return len(flat) <= MOST_ARGUMENTS and all(
        one is None
        or isinstance(one, bool)
        or is_line(one)
        or is_number(one, -MOST_ARGUMENT, MOST_ARGUMENT)
        for one in flat
    )
