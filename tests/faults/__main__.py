"""``python -m tests.faults``: play cells in turn, print a table, keep what was measured. Exit status 1 unless all pass."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Final, get_args

import orjson

from tests.faults import report, soak
from tests.faults.cell import Cell, Outcome, Stage, Verify
from tests.faults.processes import GuardedProcess

HERE = Path(__file__).parent
SETTLES_S: Final = 1_200.0
"""Longer than the soak: its traffic is held against the truth at its end."""


def cells() -> list[Cell]:
    """The cells of every ``cells_*.py``, in order of the files' names; no two have one name."""
    found: list[Cell] = []
    for path in sorted(HERE.glob("cells_*.py")):
        found += import_module(f"tests.faults.{path.stem}").CELLS
    names = [cell.name for cell in found]
    assert len(names) == len(set(names)), f"two cells of one name: {sorted(n for n in names if names.count(n) > 1)}"
    return found


@contextlib.contextmanager
def beside(chosen: list[Cell], seconds: float | None) -> Iterator[Callable[[], Outcome] | None]:
    """The soak in a process of its own while other cells are played; gives what waits for its outcome."""
    if not seconds or len(chosen) == 1 or chosen[-1].name != soak.NAME:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "soak.json"
        play = [
            sys.executable,
            "-m",
            "tests.faults",
            "--cells",
            soak.NAME,
            "--soak",
            str(seconds),
            "--json",
            str(result),
        ]
        process = GuardedProcess(play, Path(folder) / "log")

        def awaited() -> Outcome:
            process.wait(seconds + SETTLES_S)
            if not result.exists():
                return Outcome(soak.NAME, chosen[-1].what, "fail", seconds, process.log.read_text()[-2_000:])
            (found,) = orjson.loads(result.read_bytes())["outcomes"]
            return Outcome(**found)

        try:
            yield awaited
        finally:
            process.stop()


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
        "--soak", type=float, metavar="SECONDS", help="play mixed faults for so long, in a process beside the cells"
    )
    parser.add_argument("--list", action="store_true", help="say which cells there are")
    parser.add_argument("--keep", action="store_true", help="leave the logs of cells that do not pass")
    parser.add_argument("--json", type=Path, help="write outcomes and figures there, after every cell")
    parser.add_argument("--page", type=Path, help="refresh the generated part of this page")
    given = parser.parse_args(arguments)
    known = [*cells(), *([soak.cell(given.soak)] if given.soak else [])]
    chosen = [
        c
        for c in known
        if (not given.cells or c.name.startswith(tuple(given.cells)))
        and not c.name.startswith(tuple(given.without))
        and (c.short or not given.short)
    ]
    if given.list:
        for cell in chosen:
            sys.stdout.write(f"{cell.name:28} {'short' if cell.short else '     '} {cell.what}\n")
        return 0
    if not chosen:
        sys.stderr.write("there is no such cell\n")
        return 2
    run = report.Run(sys.argv[1:] if arguments is None else arguments)
    with (
        beside(chosen, given.soak) as awaited,
        Stage(keep=given.keep, verify="none" if given.short else given.verify, fresh=given.fresh) as stage,
    ):
        for cell in chosen:
            sys.stdout.write(f"{cell.name:28} {cell.what} ...\n")
            sys.stdout.flush()
            outcome = awaited() if awaited is not None and cell.name == soak.NAME else stage.play(cell)
            sys.stdout.write(report.line(outcome))
            sys.stdout.flush()
            run.add(outcome)
            if given.json:
                run.write(given.json)
    if given.page:
        report.refresh(given.page, run.told())
    sys.stdout.write(report.table(run.told()))
    return 0 if all(o.verdict == "pass" for o in run.outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
