"""Imports go one way: schemas <- detectors <- streams.engine <- streams.edges <- programs <- loadtest.

The engine, besides, gets clock, randomness, store and log as arguments: it imports no client library and nothing that
would let it look at the clock, the environment or chance (DESIGN: pure core, thin edges).
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Final

import pytest

REPOSITORY: Final = Path(__file__).resolve().parents[2]

# From the bottom to the top; a module may import from its own layer and from those before it. The most specific prefix
# decides, so that everything else in `streams` is a program. The package `streams` itself holds no code.
LAYERS: Final = (
    ("schemas",),
    ("detectors",),
    ("streams.engine",),
    ("streams.edges",),
    ("streams.",),
    ("loadtest",),
)
NUMBERS: Final = frozenset({"numpy", "scipy", "numba", "river"})
# Libraries a layer may import; a layer that is not named may import any.
LIBRARIES: Final = {
    "schemas": frozenset({"msgspec", "pydantic", "pydantic_core", "numpy", "yaml", "orjson"}),
    "detectors": NUMBERS | {"polars", "pyarrow", "orjson"},  # orjson: a reference is a JSON file
    "streams.engine": NUMBERS | {"msgspec", "orjson"},
}
# Reading reference tables is the one thing that needs these, and a worker must not pay for their import.
ONLY_INSIDE_FUNCTIONS: Final = {"detectors": frozenset({"polars", "pyarrow"})}
IMPURE: Final = frozenset({
    "time", "os", "random", "secrets", "uuid", "socket", "subprocess", "threading", "asyncio",
    "redis", "confluent_kafka", "faust", "prometheus_client", "aiohttp",
})  # fmt: skip


def layer_of(module: str) -> tuple[int, str] | None:
    """Return rank and name of the layer that `module` belongs to; None when it is not one of ours."""
    found = None
    for rank, prefixes in enumerate(LAYERS):
        for prefix in prefixes:
            inside = module.startswith(prefix) if prefix.endswith(".") else f"{module}.".startswith(f"{prefix}.")
            if inside and (found is None or len(prefix) > len(found[1])):
                found = (rank, prefix)
    return found


def for_types_only(node: ast.AST) -> bool:
    """Return whether `node` is an ``if TYPE_CHECKING:`` without an else."""
    return (
        isinstance(node, ast.If)
        and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        and not node.orelse
    )


def imported(tree: ast.Module, module: str, *, package: bool) -> list[tuple[str, int, bool]]:
    """Return (imported module, line, whether importing `module` runs it) for every import in `tree`.

    ``from a import b`` counts as ``a.b``, because b may be a module. What stands in a function or is there for the type
    checker only does not run with the module.
    """
    later = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) or for_types_only(n)]
    deferred = {id(child) for node in later for child in ast.walk(node)}
    found: list[tuple[str, int, bool]] = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            parts = module.split(".")
            kept = len(parts) - node.level + package
            base = ".".join(parts[:kept]) if node.level else ""
            source = ".".join(part for part in (base, node.module) if part)
            names = [f"{source}.{alias.name}" for alias in node.names]
        found += [(name, node.lineno, id(node) not in deferred) for name in names]
    return found


def violations(root: Path) -> list[str]:
    """Return one line for each import below `root` that goes the wrong way or is not allowed where it stands."""
    wrong = []
    for path in sorted(
        p for top in ("schemas", "detectors", "streams", "loadtest") for p in (root / top).rglob("*.py")
    ):
        parts = path.relative_to(root).with_suffix("").parts
        package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if package else parts)
        place = layer_of(module)
        if place is None:
            continue
        rank, layer = place
        for name, line, top in imported(ast.parse(path.read_text()), module, package=package):
            where = f"{path.relative_to(root)}:{line}: {layer.rstrip('.')} imports {name}"
            first = name.partition(".")[0]
            target = layer_of(name)
            # A load test measures on the brokers that the tests start; neither of them is in the wheel.
            if first == "tests" and not (layer == "loadtest" and name.startswith("tests.services.")):
                wrong.append(f"{where}, which is not part of the product")
            elif target is not None and target[0] > rank:
                wrong.append(f"{where}, which is above it")
            elif layer == "streams.engine" and first in IMPURE:
                wrong.append(f"{where}, which makes it impure")
            elif target is None and first not in sys.stdlib_module_names and first not in {"streams", "__future__"}:
                if first not in LIBRARIES.get(layer, {first}):
                    wrong.append(f"{where}, which is not among its libraries")
                elif top and first in ONLY_INSIDE_FUNCTIONS.get(layer, ()):
                    wrong.append(f"{where} at its top level; import it inside the function that needs it")
    return wrong


def test_no_module_imports_from_a_layer_above_its_own() -> None:
    assert violations(REPOSITORY) == []


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("schemas/a.py", "import detectors.reference", "schemas imports detectors.reference, which is above it"),
        ("schemas/a.py", "import scipy.stats", "not among its libraries"),
        ("detectors/a.py", "from streams import engine", "detectors imports streams.engine, which is above it"),
        ("detectors/a.py", "import polars", "import it inside the function"),
        ("detectors/a.py", "import redis", "not among its libraries"),
        ("detectors/a.py", "if not TYPE_CHECKING:\n    import polars", "import it inside the function"),
        ("streams/engine/a.py", "from streams.edges import kafka", "which is above it"),
        ("streams/engine/a.py", "from ..edges.kafka import Source", "streams.edges.kafka.Source, which is above it"),
        ("streams/engine/a.py", "def f():\n    from time import time", "which makes it impure"),
        ("streams/engine/a.py", "if True:\n    import os.path", "which makes it impure"),
        ("streams/engine/__init__.py", "from .. import worker", "imports streams.worker, which is above it"),
        ("streams/edges/a.py", "import streams.worker", "which is above it"),
        ("streams/worker.py", "import loadtest.generator", "which is above it"),
        ("streams/cli/main.py", "from tests.services import kafka", "not part of the product"),
    ],
)  # fmt: skip
def test_a_planted_violation_is_found(tmp_path: Path, path: str, source: str, complaint: str) -> None:
    planted = tmp_path / path
    planted.parent.mkdir(parents=True)
    planted.write_text(source)
    found = violations(tmp_path)
    assert len(found) == 1
    assert complaint in found[0]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("detectors/a.py", "import math\nimport numpy\nfrom schemas.errors import DriftlineError\n"),
        ("detectors/a.py", "def read():\n    import polars\n"),
        ("detectors/a.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import polars\n"),
        ("streams/engine/a.py", "from detectors import drift\nfrom . import panes\nfrom .panes import Pane\n"),
        ("streams/edges/a.py", "import time\nimport redis\nfrom streams.engine.panes import Pane\n"),
        ("streams/worker.py", "from streams.edges import kafka\nfrom streams.router import deliver\n"),
        ("loadtest/a.py", "import os\nfrom streams.cli import main\n"),
    ],
)
def test_an_import_in_the_right_direction_is_left_alone(tmp_path: Path, path: str, source: str) -> None:
    allowed = tmp_path / path
    allowed.parent.mkdir(parents=True)
    allowed.write_text(source)
    assert violations(tmp_path) == []
