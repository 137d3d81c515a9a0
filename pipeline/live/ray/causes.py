"""What lies behind an exception that came through Ray."""

from __future__ import annotations


def cause_of(error: BaseException) -> BaseException:
    """What was raised in an actor that could not begin; of any other error, the error itself."""
    cause = getattr(error.args[0] if error.args else error, "cause", None)
    return cause if isinstance(cause, BaseException) else error
