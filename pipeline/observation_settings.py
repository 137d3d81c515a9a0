"""Which settings decide what is observed in a file: its run is named after them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline.settings import Section

OBSERVATION_SECTIONS = ("detector", "tracker", "crop", "emotion", "smoother")
"""The sections that decide what is observed in a file."""
NOT_OBSERVED = frozenset(
    {
        "device",
        "runtime",
        "threads",
        "replicas",
        "gpus",
        "max_batch",
        "max_wait_ms",
        "max_pending",
        "timeout_s",
    }
)
"""Keys of these, at any depth, that decide where and how fast faces are classified, and not the
result: a file waits for every answer."""


def encode_changes(sections: Mapping[str, Section], **others: Any) -> str:
    """What differs from the defaults in these sections, and `others` that are not None, as compact
    JSON with sorted keys.

    >>> from pipeline.settings import SmootherSettings
    >>> encode_changes({"smoother": SmootherSettings(switch_margin=0.1)}, analyse_fps=None)
    '{"smoother":{"switch_margin":0.1}}'
    """
    found: dict[str, Any] = {name: one for name, one in others.items() if one is not None}
    for name, section in sections.items():
        if changed := _changes(section, None):
            found[name] = changed
    return json.dumps(found, sort_keys=True, separators=(",", ":"))


def _changes(section: Section, base: Any) -> dict[str, Any]:
    """The keys that differ from `base`, the default of the whole section, where it is of the same
    kind; else from the default of each key."""
    found: dict[str, Any] = {}
    has_base = isinstance(base, type(section))
    written = section.model_dump(mode="json")
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        default = getattr(base, key) if has_base else field.get_default(call_default_factory=True)
        if key in NOT_OBSERVED or value == default:
            continue
        if not isinstance(value, Section):
            found[key] = written[key]
        elif (changed := _changes(value, default)) or not isinstance(default, type(value)):
            found[key] = changed
    return found
