"""Keeps the current folder off Python's import path.

A `models.py`, a `dashboard/` or a `typing.py` beside somebody's clips would replace our modules, or
Python's own. `python -m` and an empty entry of PYTHONPATH put the current folder on the path.
"""

# Python has imported these two already; any other would be searched in the current folder.
import os
import sys

HOME = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
"""The folder that contains our packages."""


def exclude_current_folder() -> None:
    """Remove it from the path of this process and of every Python process that it starts.

    It stays where it contains our own packages, as in a checkout.
    """
    children = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    children = [os.path.abspath(entry) for entry in children if entry]
    if _is_current(HOME):
        # Children would find it only through `-m`, which PYTHONSAFEPATH below disables.
        children.insert(0, HOME)
    else:
        sys.path[:] = [entry for entry in sys.path if not _is_current(entry)]
        children = [entry for entry in children if not _is_current(entry)]
    if children:
        os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(children))
    else:
        os.environ.pop("PYTHONPATH", None)
    os.environ["PYTHONSAFEPATH"] = "1"


def _is_current(entry: str) -> bool:
    try:
        return not entry or os.path.samefile(entry, os.curdir)
    except OSError:  # it is gone, or the current folder is
        return False
