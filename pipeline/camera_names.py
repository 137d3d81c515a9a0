"""What a camera may be called: its name stands in records, topics and addresses."""

from __future__ import annotations

import re

from pipeline.errors import ConfigError
from pipeline.records import CAMERA_PATTERN

LONGEST = 63


def nearest_camera_name(text: str, default: str = "camera") -> str:
    """The nearest camera name to any text; `default` where nothing of it can stay.

    >>> nearest_camera_name("Front Door (2).final")
    'front-door-2-final'
    """
    return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-_")[:LONGEST] or default


def check_camera_name(text: str) -> str:
    """The name itself; raises ConfigError, with the nearest name, for one that no camera may have.

    >>> check_camera_name("back-porch")
    'back-porch'
    """
    if re.fullmatch(CAMERA_PATTERN, text):
        return text
    raise ConfigError("not a camera name", repr(text), name_remedy(text))


def name_remedy(text: str) -> str:
    """What to write instead."""
    rule = f"lower case letters, digits, - and _, {LONGEST} at most"
    return f"did you mean {nearest_camera_name(text)!r}? {rule}"
