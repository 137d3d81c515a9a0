"""A new family touches its own files only: no shared file names a family, a method or a stage."""

from __future__ import annotations

import ast
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import trainer.objectives
import trainer.presets
from models.registry import FAMILIES
from trainer.objectives import find_modules
from trainer.presets import list_presets

ROOT = Path(__file__).parents[2]
SHARED_OBJECTIVES = {"base", "baselines", "landmarks", "points", "softmax"}
"""In trainer/objectives, what belongs to no family."""
OF_FAMILIES = (
    *("models/registry.py", "models/lrdif/", "models/emodc/", "models/drfer/"),
    *("models/baselines/", "trainer/objectives/", "trainer/presets/"),
)
SHARED = sorted(
    path.relative_to(ROOT).as_posix()
    for room in ("models", "trainer")
    for path in (ROOT / room).rglob("*.py")
    if not path.relative_to(ROOT).as_posix().startswith(OF_FAMILIES)
)
OF_PRESETS = {found.name for found in pkgutil.iter_modules(trainer.presets.__path__)}
OF_OBJECTIVES = {found.name for found in pkgutil.iter_modules(trainer.objectives.__path__)} | {
    name for name, module in find_modules().items() if hasattr(import_module(module), "OBJECTIVE")
}
METHODS = (OF_PRESETS | OF_OBJECTIVES) - SHARED_OBJECTIVES
NAMES = {name.replace("-", "_") for name in {*METHODS, *FAMILIES}}
STAGES = {stage.name for recipe in list_presets().values() for stage in recipe.stages}


def words_of(source: str) -> Iterator[tuple[int, str, bool]]:
    """Names, imports and strings of a module, without docstrings and comments: the line, the word,
    and whether it is a string."""
    tree = ast.parse(source)
    docs = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in docs:
                yield node.lineno, text, True
            case ast.ImportFrom(module=str(module)):
                yield from ((node.lineno, f"{module}.{alias.name}", False) for alias in node.names)
            case ast.Import():
                yield from ((node.lineno, alias.name, False) for alias in node.names)
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield node.lineno, name, False


def faults(source: str) -> list[str]:
    """Words that are a family, a method, or a string that is a stage of a preset."""
    named = re.compile(rf"(?<![a-z])({'|'.join(sorted(NAMES))})(?![a-z])")
    return [
        f"line {line}: {word}"
        for line, word, is_string in words_of(source)
        if named.search(word.lower().replace("-", "_")) or (is_string and word in STAGES)
    ]


@pytest.mark.parametrize("path", SHARED)
def test_no_shared_file_names_a_family(path: str) -> None:
    assert faults((ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "from models.lrdif.network import LRDif",
        "if card.model == 'face-resnet': pass",
        "RESNET18 = 1\nprint(RESNET18)",
        "name = {'objective': 'scn'}",
        "if stage.name == 's2': pass",
    ],
)
def test_the_rule_sees(source: str) -> None:
    assert faults(source)


def test_the_rule_leaves_sources_and_other_words_alone() -> None:
    assert faults('"""LRDif (arXiv 2402.00250)."""\nposterior = points_of(face)') == []
