"""YAML with the line of every value, and ${NAME} filled in from the environment.

Scalars are read as YAML 1.2 means them, not 1.1: `on` and `yes` are text (retrain has a key `on`), and so are 0123,
1:30 and 2024-05-01. Keys are always text: a version 1.10 is not 1.1. What comes from the environment stays text too,
so that no password becomes a number.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import yaml

from schemas.errors import ConfigError

Path_ = tuple[str | int, ...]
Plain = str | int | float | bool | None | list["Plain"] | dict[str, "Plain"]

# A configuration has a few thousand nodes; aliases of aliases could make a small file explode.
MAX_NODES: Final = 100_000
MAX_DEPTH: Final = 32

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_CONSTANTS: Final = {"": None, "~": None, "null": None, "true": True, "True": True, "false": False, "False": False}
_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?", re.ASCII)


@dataclass(slots=True)
class Document:
    """A file as plain data, with where each value stands and which values must not be shown."""

    path: Path
    data: Plain = None
    lines: dict[Path_, int] = field(default_factory=dict)
    """Line (from 1) of the key or item at each path."""
    masked: set[Path_] = field(default_factory=set)
    """Paths of the values that came from the environment."""

    def line(self, path: Path_) -> int:
        """Return the line of `path`, or of the nearest thing around it that the file has."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read(path: Path, environment: Mapping[str, str]) -> Document:
    """Return the YAML file `path` as data.

    Raises:
        ConfigError: it cannot be opened, is no UTF-8 YAML, is not one mapping, has a key twice or names a variable
            that is not set; every problem but a syntax error is listed, with its line.
    """
    remedy = "Name another file with --config"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        what = f"{path}: the configuration file does not exist"
        raise ConfigError(what, f"Write it, or: {remedy[0].lower()}{remedy[1:]}") from None
    except OSError as error:
        what = f"{path}: the configuration file cannot be read ({error.strerror})"
        raise ConfigError(what, remedy) from None
    except UnicodeDecodeError as error:
        what = f"{path}: the configuration file is not UTF-8 (byte {error.start})"
        raise ConfigError(what, "Save it as UTF-8") from None
    reader = _Reader(Document(path), environment)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = 1 if mark is None else mark.line + 1
        what = f"{path}:{line}: this is not YAML: {getattr(error, 'problem', None) or 'a character is not allowed'}"
        raise ConfigError(what, "Correct the line; indent with spaces") from None
    if not isinstance(node, yaml.MappingNode):
        what = f"{path}:1: the file is {_found(node)}; allowed: a mapping with keys like models, kafka and redis"
        raise ConfigError(what, f"Correct {path} and try again")
    reader.document.data = reader.value(node, ())
    if reader.problems:
        raise ConfigError("\n".join(reader.problems), f"Correct {path} and try again")
    return reader.document


def _found(node: yaml.Node | None) -> str:
    return "empty" if node is None else "a list" if isinstance(node, yaml.SequenceNode) else "a single value"


class _Reader:
    """Walks the nodes once; problems are collected, so that all of them can be said."""

    def __init__(self, document: Document, environment: Mapping[str, str]) -> None:
        self.document = document
        self.environment = environment
        self.problems: list[str] = []
        self.nodes = 0

    def value(self, node: yaml.Node, path: Path_) -> Plain:
        self.nodes += 1
        if self.nodes > MAX_NODES or len(path) > MAX_DEPTH:
            if self.nodes <= MAX_NODES or not self.problems:
                self.problem(node, path, f"too large; allowed: {MAX_NODES} values, {MAX_DEPTH} levels")
            return None
        self.document.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self.scalar(node, path)

    def mapping(self, node: yaml.MappingNode, path: Path_) -> dict[str, Plain]:
        result: dict[str, Plain] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.problem(key, path, "a key that is no text; allowed: text")
                continue
            name = str(key.value)
            if name == "<<":
                self.problem(key, (*path, name), "a merge key; allowed: an alias of a whole value")
            elif name in result:
                first = self.document.lines[*path, name]
                self.problem(key, (*path, name), f"given twice; allowed: once (line {first} has it too)")
            else:
                self.document.lines[*path, name] = key.start_mark.line + 1
                result[name] = self.value(value, (*path, name))
        return result

    def scalar(self, node: yaml.Node, path: Path_) -> Plain:
        text = str(node.value)
        if _VARIABLE.search(text):
            self.document.masked.add(path)
            return _VARIABLE.sub(lambda match: self.variable(match[1], node, path), text)
        return text if getattr(node, "style", None) else plain(text)

    def variable(self, name: str, node: yaml.Node, path: Path_) -> str:
        if name not in self.environment:
            self.problem(node, path, f"${{{name}}}, which is not set; allowed: a variable of the environment")
            return ""
        return self.environment[name]

    def problem(self, node: yaml.Node, path: Path_, text: str) -> None:
        line = node.start_mark.line + 1
        self.problems.append(f"{self.document.path}:{line}: {dotted(path)} is {text}")


def plain(text: str) -> str | int | float | bool | None:
    """Return what an unquoted scalar means: null, true, false, a decimal number, or text."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    # An integer of 19 digits and more stays text: nothing that is configured is that large, but an id may look so.
    if _FLOAT.fullmatch(text) and not text.lstrip("+-").isdigit() and math.isfinite(float(text)):
        return float(text)
    return text


def dotted(path: Path_) -> str:
    """Return `path` as people write it: models.fraud.monitors[0].drift."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the file"
