"""Names and texts use the words of the field, one word for each thing.

Identifiers are read from the source, settings, options and metrics from the running program. Each
finding is `file:line: what: reason`; each rule is also shown text that breaks it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("models", "trainer", "pipeline", "dashboard", "benchmarks")
MIGRATIONS = "pipeline/store/migrations/versions"
"""A migration keeps the name under which databases know it."""
TEXTS = (
    *("README.md", "CONTRIBUTING.md", "SECURITY.md", "undercam.example.toml", "Makefile"),
    *("docs/*.md", "docs/guides/*.md", "docker/*", "models/zoo/README.md"),
)
HISTORY = ("docs/LOG.md", "docs/schemas")
"""Dated entries stay as they were written."""

INSTEAD = {
    **dict.fromkeys(("look", "looks"), "observation"),
    **dict.fromkeys(("picture", "pictures", "shot", "shots"), "frame or image"),
    **dict.fromkeys(("roster", "enrol", "enroll", "dismiss"), "registry, register, unregister"),
    **dict.fromkeys(("mail", "letter", "letters"), "message or dead letter"),
    **dict.fromkeys(("said", "says", "asked", "told"), "predictions, reported, requested"),
    **dict.fromkeys(("taught", "teach"), "distil, teacher"),
    **dict.fromkeys(("heard", "birth"), "heartbeat, incarnation"),
    **dict.fromkeys(("obey", "heed", "bury", "adopt"), "apply, handle, mark_dead, recover"),
    **dict.fromkeys(("rival", "rivals"), "baseline or ablation"),
    **dict.fromkeys(("cure", "curing", "doubt", "doubting"), "SCN, label_noise"),
    "undue": "skipped",
    "gather": "fuse",
    "gathered": "fused",
    "held": "validation",
    "passes": "epochs",
    "explained": "translate_error",
}
"""A word of an identifier, and what it is called here."""
ONLY_IN = dict.fromkeys(("held", "passes"), ("models/", "trainer/", "benchmarks/", "keys of "))
"""Elsewhere a lock is held, and a value passes a check."""
COMPOUNDS = {
    **{"weights_bad": "degraded_weights", "bad_noise": "degraded_noise"},
    **{"through_video": "end_to_end", "same_answers": "same_predictions"},
}
CLASSES = {
    **dict.fromkeys(("Ask", "RemoteAsk", "Scorer"), "ClassifierClient"),
    **dict.fromkeys(("Choose", "Choice"), "Router, Route"),
    **dict.fromkeys(("Lost", "Link"), "ConnectionLost, ConnectionState"),
    **{"Observe": "EventBuilder", "Watch": "StatusMonitor", "Pace": "FrameSampler"},
    **{"Team": "DistributedContext", "Views": "AugmentedBatches"},
}
"""Classes that have another name now; as words of other names they may be right."""
INNOCENT = re.compile(
    r"dead_?letters?|snapshots?|letter_?box|look_?(?:ahead|up)|explained_variance", re.I
)
"""Standard terms that hold one of the words."""
IRREGULAR = {
    *("begun", "brought", "built", "done", "drawn", "found", "given", "gone", "held"),
    *("hidden", "kept", "known", "laid", "lent", "made", "read_out", "said", "seen"),
    *("sent", "shown", "stood", "taken", "taught", "thrown", "told", "torn", "understood", "won"),
    *("written",),
}
REGULAR = re.compile(
    r"[a-z]+[b-df-hj-np-tv-z]ed|[a-z]+[iu]ed|[a-z]+(?:at|id|oad|ous|as|iz|is|ar)ed"
)
NOT_PARTICIPLES = {"embed", "feed", "need", "proceed", "seed", "shed", "speed", "succeed", "unshed"}

PHRASES = {
    r"behind (?:a|the|simulated|drawn|real) (?:\w+ )?displays?|behind displays": "under a display",
    r"seen through a display|looks? through a display": "under a display",
    r"mirror image": "horizontal-flip TTA",
    r"which are taken for which": "confusion matrix",
    r"how (?:it|they|each|everything|things?) (?:fares?|fared|stands?)": "state, health",
    r"\b(?:is|are|was|were|be) given up\b": "shed, or timed out",
    r"held[- ]out": "validation split",
    r"what (?:is|was|were|they|it|he) said of": "predictions",
    r"what they said\b": "predictions",
    r"pay no heed|nobody foresaw": "ignore, unexpected",
    r"bad pictures?": "degraded images",
    r"several looks|gathered looks": "multi-frame averaging",
    r"through[- ]video\b": "end-to-end",
    r"hangs? up on": "disconnect",
    r"(?:on|off|of) the roster": "registry",
}
"""Phrases of texts: help, errors, docstrings, pages, documents."""

EXCEPTIONS = {
    ("pipeline/cli/options.py", "through-video"): "the option of the last release",
    ("docs/guides/commands.md", "through-video"): "the option of the last release",
}
"""(file, word or phrase): why it may stand there."""


@dataclass(frozen=True)
class Offence:
    """A name or a text at a place."""

    file: str
    line: int
    found: str
    instead: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.found}: {self.instead}"


def words_of(identifier: str) -> list[str]:
    """`_HTTPClient_asked2` -> ["http", "client", "asked"]."""
    return [
        word.lower()
        for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", INNOCENT.sub("", identifier))
    ]


def identifiers_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that a module gives: of classes, functions, arguments, variables, attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield node.lineno, name
            case ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.alias(asname=str(name)):
                yield node.lineno, name


def keys_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The keys that a module writes into dictionaries, such as those of JSON objects: lower-case
    identifiers. Not those of `OLD_NAMES`, which are names of the last release."""
    old = [
        set(ast.walk(node))
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign) and "OLD_NAMES" in ast.unparse(node)
    ]
    for node in ast.walk(tree):
        match node:
            case ast.Dict(keys=keys) if not any(node in names for names in old):
                found = keys
            case ast.Subscript(slice=key, ctx=ast.Store()):
                found = [key]
            case _:
                continue
        for key in found:
            match key:
                case ast.Constant(value=str(name)) if name.isidentifier() and name.islower():
                    yield key.lineno, name


def fault_of(identifier: str, file: str = "") -> tuple[str, str] | None:
    """The word of an identifier that has a better one in this file, and the better one."""
    for compound, instead in COMPOUNDS.items():
        if compound in identifier.lower():
            return compound, instead
    for word in words_of(identifier):
        if word in INSTEAD and file.startswith(ONLY_IN.get(word, "")):
            return word, INSTEAD[word]
    return None


def is_participle(name: str) -> bool:
    """Whether a name is one past participle, as `opened` or `told`."""
    bare = name.strip("_")
    regular = bool(REGULAR.fullmatch(bare)) and bare not in NOT_PARTICIPLES
    return "_" not in bare and (regular or bare in IRREGULAR)


def is_value(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function stands for a value: a property, or a question."""
    decorators = {ast.unparse(d).rpartition(".")[2].partition("(")[0] for d in node.decorator_list}
    returns_bool = isinstance(node.returns, ast.Name) and node.returns.id == "bool"
    return returns_bool or bool(decorators & {"property", "cached_property", "fixture", "setter"})


def name_offences(file: str, tree: ast.AST) -> Iterator[Offence]:
    """Identifiers with a word that has a better one, and functions named by a participle."""
    for line, name in identifiers_of(tree):
        fault = fault_of(name, file)
        if fault and (file, fault[0]) not in EXCEPTIONS:
            yield Offence(file, line, name, fault[1])
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name.strip("_") in CLASSES:
            yield Offence(file, node.lineno, node.name, CLASSES[node.name.strip("_")])
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and is_participle(node.name)
            and not is_value(node)
            and (file, node.name) not in EXCEPTIONS
        ):
            yield Offence(file, node.lineno, f"{node.name}()", "a verb")


def phrase_offences(file: str, texts: Iterable[tuple[int, str]]) -> Iterator[Offence]:
    """Phrases of texts, each text with the number of its first line."""
    for first, text in texts:
        for phrase, instead in PHRASES.items():
            for found in re.finditer(phrase.replace(" ", r"\s+"), text, re.I):
                words = " ".join(found.group().split()).lower()
                if (file, words) not in EXCEPTIONS:
                    line = first + text.count("\n", 0, found.start())
                    yield Offence(file, line, words, instead)


def strings_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every text of a module, docstrings too; adjacent strings are one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def module_offences(file: str, source: str) -> Iterator[Offence]:
    """Everything that is found in one module."""
    tree = ast.parse(source)
    for part in Path(file).with_suffix("").parts:
        fault = fault_of(part, file)
        if fault:
            yield Offence(file, 1, part, fault[1])
    yield from name_offences(file, tree)
    for line, key in keys_of(tree):
        fault = fault_of(key, f"keys of {file}")
        if fault and (file, key) not in EXCEPTIONS:
            yield Offence(file, line, f"[{key!r}]", fault[1])
    yield from phrase_offences(file, strings_of(tree))


def options_of(command: Any, path: str) -> Iterator[tuple[str, str]]:
    """(place, option or help) of a command and its subcommands."""
    yield path, command.help or ""
    for parameter in command.params:
        yield from ((path, name) for name in parameter.opts)
        yield path, getattr(parameter, "help", None) or ""
    for name, below in getattr(command, "commands", {}).items():
        yield from options_of(below, f"{path} {name}")


def interface() -> Iterator[tuple[str, str, str]]:
    """(place, name, text) of every setting, option and metric."""
    from pipeline.cli.app import COMMANDS, load_command
    from pipeline.metrics import OLD_NAMES, describe_metrics
    from pipeline.schemas import list_settings

    for setting in list_settings():
        yield f"setting {setting.table}", setting.key, setting.meaning
    for metric in describe_metrics():
        if metric.name.removesuffix("_total") not in OLD_NAMES.values():
            yield f"metric {metric.name}", metric.name, metric.meaning
    for command in COMMANDS:
        for place, text in options_of(load_command(command), f"undercam {command}"):
            is_name = text.startswith("-")
            yield place, text if is_name else "", "" if is_name else text


def interface_offences(rows: Iterable[tuple[str, str, str]]) -> Iterator[Offence]:
    """Names and texts of settings, options and metrics."""
    for place, name, text in rows:
        fault = fault_of(name.replace("-", "_"))
        if fault:
            yield Offence(place, 0, name, fault[1])
        yield from phrase_offences(place, [(0, text)])


def report(offences: Iterable[Offence]) -> str:
    """One line each, for an assertion that shows them all."""
    return "\n".join(map(str, sorted(offences, key=lambda o: (o.file, o.line))))


def modules() -> dict[str, str]:
    """The source of every module of ours by its path."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    files = {path.relative_to(ROOT).as_posix(): path for path in paths}
    return {f: p.read_text("utf-8") for f, p in files.items() if not f.startswith(MIGRATIONS)}


@pytest.mark.parametrize("package", PACKAGES)
def test_names_and_texts_of_modules(package: str) -> None:
    sources = {f: s for f, s in modules().items() if f.startswith(f"{package}/")}
    assert sources
    found = report(o for f, s in sources.items() for o in module_offences(f, s))
    assert not found, found


def test_settings_options_and_metrics() -> None:
    rows = list(interface())
    assert {"undercam_frames_shed_total", "analyse_fps", "--config"} <= {
        name for _, name, _ in rows
    }
    found = report(interface_offences(rows))
    assert not found, found


def test_documents() -> None:
    files = [path for pattern in TEXTS for path in sorted(ROOT.glob(pattern)) if path.is_file()]
    names = {path.relative_to(ROOT).as_posix(): path for path in files}
    texts = {n: p.read_text("utf-8") for n, p in names.items() if not n.startswith(HISTORY)}
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    titles = {f"docs/decisions/{p.name}": p.read_text("utf-8").split("\n")[0] for p in decisions}
    found = report(o for n, t in (texts | titles).items() for o in phrase_offences(n, [(1, t)]))
    assert not found, found


def test_exceptions_are_needed() -> None:
    """One whose reason is gone is deleted."""
    texts = {file: (ROOT / file).read_text("utf-8") for file, _ in EXCEPTIONS}
    assert [f"{file}: {word}" for file, word in EXCEPTIONS if word not in texts[file]] == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("class Looks: pass", ["Looks"]),
        ("def classify(look): pass", ["look"]),
        ("class A:\n    said: int = 1", ["said"]),
        ("def f(self):\n    self.undue = 0", ["undue"]),
        ("weights_bad = 1", ["weights_bad"]),
        ("import numpy as picture", ["picture"]),
        ("def _birthOf(): pass", ["_birthOf"]),
        ("def _opened(): pass", ["_opened()"]),
        ("async def told(): pass", ["told", "told()"]),
        ("with x as held: pass", ["held"]),
        ("class Watch: pass", ["Watch"]),
        ("class _Team(Base): pass", ["_Team"]),
        ("f('which are taken\\n   for which')", ["which are taken for which"]),
        ('"""Faces behind simulated displays."""', ["behind simulated displays"]),
        ("x = f'average with the mirror image {y}'", ["mirror image"]),
        ("x = {'passes': 1, **y}", ["['passes']"]),
        ("row['same_answers'] = 1", ["['same_answers']"]),
        ("print('It was given up after 3 s')", ["was given up"]),
    ],
)
def test_an_offender_is_seen(source: str, found: list[str]) -> None:
    assert [offence.found for offence in module_offences("models/made.py", source)] == found


@pytest.mark.parametrize(
    "source",
    [
        "dead_letters = 1",
        "class DeadLetter: pass",
        "snapshot = password = teacher = 1",
        "@property\ndef received(self): pass",
        "def enabled() -> bool: pass",
        "def shed(): pass",
        "def seed(): pass",
        "class WatchFolder: pass",
        "def loaded_models(): pass",
        "print('a camera under a display')",
        "import os.picture",  # a name of somebody else
        "x.look()",
        "x = row['passes'] + about['pictures']",  # a key that is read may be an old file's
        "x = {'it passes': 1}",
        "OLD_NAMES: C = {'looks': 'observations'}",
    ],
)
def test_what_is_allowed(source: str) -> None:
    assert report(module_offences("models/made.py", source)) == ""


def test_the_file_name_and_the_line_are_reported() -> None:
    source = '"""Fine."""\n\nx = 1\nlooks = """a\nface behind a display"""\n'
    lines = report(module_offences("models/roster.py", source)).splitlines()
    assert lines == [
        "models/roster.py:1: roster: registry, register, unregister",
        "models/roster.py:4: looks: observation",
        "models/roster.py:5: behind a display: under a display",
    ]


def test_an_offending_setting_or_option_is_seen() -> None:
    rows = [
        ("setting emotion", "weights_bad", "Weights for bad pictures."),
        ("undercam train", "--teach", ""),
        ("metric undercam_looks", "undercam_looks", "Fine."),
        ("undercam run", "--dashboard", "Serve the pages too."),
    ]
    found = [offence.found for offence in interface_offences(rows)]
    assert found == ["weights_bad", "bad pictures", "--teach", "undercam_looks"]
