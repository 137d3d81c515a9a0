"""Camera addresses without what must stay secret, for messages, logs and pages."""

from __future__ import annotations

import re

_LOGIN = re.compile(r"(?<=[A-Za-z]{2})(?<!file)(:/{1,2})(?:(?![A-Za-z]{2,}:/).)*@")
"""After a scheme, one slash or two: up to the last @ before another scheme, whatever is between."""
_BARE = re.compile(r"(?<![^\s'\"(=,])(?!file:|env:)[^\s/@:'\"(=,]+:(?!/)\S*@")
"""USER:PASSWORD@ where nothing tells a scheme."""
_SECRET = re.compile(
    r"((?:user|login|pass|pwd|token|key|secret|auth|sig)\w*?=)[^&;\s]*", re.IGNORECASE
)


def redacted(text: str) -> str:
    """An address, or any text with addresses in it, without logins, passwords, tokens and keys.

    Hides rather too much than too little: a password may hold `/` or `@` without being quoted.

    >>> redacted("rtsp://admin:pa@ss@10.0.0.7/live?channel=1&token=s3cret")
    'rtsp://***@10.0.0.7/live?channel=1&token=***'
    >>> redacted("no such file: admin:s3cret@10.0.0.7/live")
    'no such file: ***@10.0.0.7/live'
    """
    return _SECRET.sub(r"\1***", _BARE.sub("***@", _LOGIN.sub(r"\1***@", text)))
