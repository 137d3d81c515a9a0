"""Settings under the names of the release before, read for one release."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from pipeline.errors import RenamedSetting


def rename_keys(values: Mapping[str, Any], new_names: Mapping[str, str]) -> dict[str, Any]:
    """The values with old keys under their new names, each with a RenamedSetting warning.

    Names may be dotted, for keys of tables in tables; where a key is given under both its names,
    the new one is taken.
    """
    renamed = dict(values)
    for old, new in new_names.items():
        *tables, key = old.split(".")
        place = _tables_of(renamed, tables)
        if place and key in place[-1]:
            warnings.warn(f"setting {old!r}: renamed: call it {new!r}", RenamedSetting, 3)
            value = place[-1].pop(key)
            if tables and not place[-1]:
                del place[-2][tables[-1]]
            *tables, key = new.split(".")
            place = _tables_of(renamed, tables, create=True)
            if place:
                place[-1].setdefault(key, value)
    return renamed


def _tables_of(
    values: dict[str, Any], names: Sequence[str], create: bool = False
) -> list[dict[str, Any]]:
    """The tables along a path, outermost first, each a copy put in its place; [] where the path
    ends before its last name."""
    place = [values]
    for name in names:
        inner = place[-1].get(name, {} if create else None)
        if isinstance(inner, BaseModel):
            inner = {key: getattr(inner, key) for key in inner.model_fields_set}
        if not isinstance(inner, Mapping):
            return []
        place[-1][name] = dict(inner)
        place.append(place[-1][name])
    return place
