"""Camera names, which are part of records, topics and addresses."""

from __future__ import annotations

import re

from pipeline.errors import ConfigError
from pipeline.records import CAMERA_PATTERN

MAX_LENGTH = 63


def nearest_camera_name(text: str, default: str = "camera") -> str:
    """The camera name nearest to any text; `default` where no character of it is allowed.

    >>> nearest_camera_name("Front Door (2).final")
    'front-door-2-final'
    """
    return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-_")[:MAX_LENGTH] or default


def check_camera_name(text: str) -> str:
    """The name itself; raises ConfigError, suggesting the nearest name, for an invalid one.

    >>> check_camera_name("back-porch")
    'back-porch'
    """
    if re.fullmatch(CAMERA_PATTERN, text):
        return text
    raise ConfigError("not a camera name", repr(text), suggest_camera_name(text))


def suggest_camera_name(text: str) -> str:
    """The remedy for an invalid name."""
    rule = f"lower case letters, digits, - and _, {MAX_LENGTH} at most"
    return f"did you mean {nearest_camera_name(text)!r}? {rule}"
