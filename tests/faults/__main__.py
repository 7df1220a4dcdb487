"""``python -m tests.faults``: play cells in turn, print a table, keep what was measured. Exit status 1 unless all pass."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib import import_module
from pathlib import Path
from typing import Final, get_args

import orjson

from tests.faults import report, results, soak
from tests.faults.cell import Cell, Outcome, Stage, Verify
from tests.faults.load import Spec
from tests.faults.processes import GuardedProcess

HERE = Path(__file__).parent
LONGEST: Final = (soak.NAME, "worker", "recovery")
"""Kinds of cells that take longer than their number says."""
LANE_S: Final = 3 * 3_600.0
"""More than all cells of a kind take."""
COMPILED_S: Final = 600.0
"""A minute alone."""


def cells() -> list[Cell]:
    """The cells of every ``cells_*.py``, in order of the files' names; no two have one name."""
    found: list[Cell] = []
    for path in sorted(HERE.glob("cells_*.py")):
        found += import_module(f"tests.faults.{path.stem}").CELLS
    names = [cell.name for cell in found]
    assert len(names) == len(set(names)), f"two cells of one name: {sorted(n for n in names if names.count(n) > 1)}"
    return found


def play(chosen: list[Cell], given: argparse.Namespace) -> Iterator[Outcome]:
    """Play cells in turn, in this process."""
    with Stage(keep=given.keep, verify="none" if given.short else given.verify, fresh=given.fresh) as stage:
        for cell in chosen:
            sys.stdout.write(f"{cell.name:28} {cell.what} ...\n")
            sys.stdout.flush()
            yield stage.play(cell)


def play_beside(chosen: list[Cell], given: argparse.Namespace) -> Iterator[Outcome]:
    """Play cells in so many processes; each takes the next kind of cells (``redis``, ``kafka``, ...) when it is done with one.

    The longest come first, so that nobody waits for them in the end.
    """
    kinds: dict[str, list[Cell]] = {}
    for cell in chosen:
        kinds.setdefault(cell.name.partition(".")[0], []).append(cell)
    ordered = sorted(kinds, key=lambda kind: (kind not in LONGEST, -len(kinds[kind])))
    with ThreadPoolExecutor(given.lanes) as pool:
        for played in as_completed([pool.submit(_lane, kinds[kind], given) for kind in ordered]):
            yield from played.result()


def compile_first(given: argparse.Namespace) -> None:
    """Let one worker read in peace: in a fresh clone it compiles what all others would compile side by side."""
    with Stage(keep=given.keep, verify="none", fresh=given.fresh) as stage, stage.deployment() as deployment:
        deployment.start("first")
        results.wait_until_done(deployment, deployment.load(Spec(rate=50_000)).wait(), COMPILED_S)


def _lane(cells_of_kind: list[Cell], given: argparse.Namespace) -> list[Outcome]:
    """Play cells of one kind in a process of their own; a cell that has no outcome, because the process ended, has failed."""
    with tempfile.TemporaryDirectory() as folder:
        result, log = Path(folder) / "outcomes.json", Path(folder) / "log"
        options = [
            "--lane",
            "--verify",
            given.verify,
            "--json",
            str(result),
            *(["--soak", str(given.soak)] if given.soak else []),
        ]
        options += [flag for flag, on in (("--keep", given.keep), ("--fresh", given.fresh)) if on]
        names = [cell.name for cell in cells_of_kind]
        process = GuardedProcess([sys.executable, "-m", "tests.faults", "--cells", *names, *options], log)
        with contextlib.suppress(subprocess.TimeoutExpired):  # what it has played until then stands in its file
            process.wait(LANE_S)
        process.kill()
        found = orjson.loads(result.read_bytes())["outcomes"] if result.exists() else []
        played = {outcome["name"]: Outcome(**outcome) for outcome in found}
        why = f"the process of these cells ended: {log.read_text()[-2_000:]}"
        return [played.get(c.name, Outcome(c.name, c.what, "fail", 0.0, why, caught=c.caught)) for c in cells_of_kind]


def choose(known: list[Cell], given: argparse.Namespace) -> list[Cell]:
    """The cells that the options name."""
    names = {cell.name for cell in known}

    def named(cell: Cell, wanted: list[str]) -> bool:
        return any(cell.name == n or (n not in names and cell.name.startswith(n)) for n in wanted)

    return [
        c
        for c in known
        if (not given.cells or named(c, given.cells)) and not named(c, given.without) and (c.short or not given.short)
    ]


def main(arguments: list[str] | None = None) -> int:
    """Play; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--cells", nargs="+", metavar="NAME", help="names, or how names begin")
    parser.add_argument("--without", nargs="+", metavar="NAME", default=[], help="leave these out")
    parser.add_argument("--short", action="store_true", help="the cells of `make test`, without the verifier")
    parser.add_argument(
        "--fresh", action="store_true", help="start every worker by a new interpreter: two seconds each"
    )
    parser.add_argument(
        "--verify",
        choices=get_args(Verify),
        default="some",
        help="cells that the verifier looks at (default: %(default)s)",
    )
    parser.add_argument(
        "--soak", type=float, metavar="SECONDS", help="play mixed faults for so long, too (the cell `soak`)"
    )
    parser.add_argument("--lanes", type=int, default=1, help="play so many kinds of cells at a time (default: 1)")
    parser.add_argument("--lane", action="store_true", help=argparse.SUPPRESS)  # a process of ``--lanes``
    parser.add_argument("--list", action="store_true", help="say which cells there are")
    parser.add_argument("--keep", action="store_true", help="leave the logs of cells that do not pass")
    parser.add_argument("--json", type=Path, help="write outcomes and figures there, after every cell")
    parser.add_argument(
        "--complete", action="store_true", help="play what has no pass in the file of --json, and add it there"
    )
    parser.add_argument("--page", type=Path, help="refresh the generated part of this page")
    given = parser.parse_args(arguments)
    known = [*cells(), *([soak.cell(given.soak)] if given.soak else [])]
    chosen = choose(known, given)
    run = report.Run(sys.argv[1:] if arguments is None else arguments)
    if given.complete:
        run.before = orjson.loads(given.json.read_bytes())
        passed = run.passed()
        chosen = [c for c in chosen if c.name not in passed]
    if given.list:
        for cell in chosen:
            sys.stdout.write(f"{cell.name:28} {'short' if cell.short else '     '} {cell.what}\n")
        return 0
    if not chosen:
        sys.stderr.write("there is no such cell\n")
        return 2
    if not given.short and not given.lane:
        compile_first(given)
    for outcome in play_beside(chosen, given) if given.lanes > 1 else play(chosen, given):
        sys.stdout.write(f"{outcome.name}\n{report.line(outcome)}")
        sys.stdout.flush()
        run.add(outcome)
        if given.json:
            run.write(given.json)
    run.outcomes.sort(key=lambda outcome: [cell.name for cell in known].index(outcome.name))
    if given.json:
        run.write(given.json)
    if given.page:
        report.refresh(given.page, run.told())
    sys.stdout.write(report.table(run.told()))
    return 0 if all(o.verdict == "pass" for o in run.outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
