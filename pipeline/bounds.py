"""The range of a setting, as a person reads it."""

from __future__ import annotations

from typing import Any

BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
"""JSON Schema's names of them."""


def bounds_of(field: dict[str, Any]) -> str:
    """The range of a number by its JSON Schema; "" of anything else.

    >>> bounds_of({"type": "integer", "minimum": 1, "maximum": 64})
    '≥ 1, ≤ 64'
    """
    # A number that may be left unset is one of several.
    for schema in (field, *field.get("anyOf", [])):
        bounds = [
            f"{sign} {schema[bound]:.10g}" for bound, sign in BOUNDS.items() if bound in schema
        ]
        if bounds:
            return ", ".join(bounds)
    return ""
