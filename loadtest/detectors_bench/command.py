"""``python -m loadtest detectors``: speed and size of what ``detectors`` computes, beside other tools on the same data."""

from __future__ import annotations

import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console
from rich.table import Table

from loadtest import machine
from loadtest.detectors_bench import beside
from loadtest.detectors_bench.sizes import sizes
from loadtest.peers import client

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable, Sequence

    from loadtest.detectors_bench.case import Case

SUBJECTS = ("sketches", "drift", "sequential", "performance")
"""Files beside this one with ``CASES``, in the order of the table."""
HOLDS, SHORT, NO_RUN = 0, 1, 2
WIDTH = 150


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each case (default: %(default)s)")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="only cases whose name contains TEXT, and no other tools"
    )
    parser.add_argument("--without-peers", action="store_true", help="leave out evidently, nannyml and whylogs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured to FILE")
    parser.add_argument("--show", type=Path, metavar="FILE", help="measure nothing, print what --json wrote to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 when a median falls short of its target")


def main(args: Namespace) -> int:
    """Run, print, and return the exit status: 0 fine, 1 short of a target (``--check``), 2 it could not run."""
    if args.rounds < 1:
        sys.stderr.write("rounds must be at least 1\n")
        return NO_RUN
    if args.json is not None and not args.json.absolute().parent.is_dir():
        sys.stderr.write(f"there is no folder for {args.json}: make it, or name another file\n")
        return NO_RUN
    try:
        found = (
            orjson.loads(args.show.read_bytes())
            if args.show is not None
            else measure(cases(), args.rounds, args.only, peers=not args.without_peers)
        )
    except (RuntimeError, OSError, orjson.JSONDecodeError) as error:
        sys.stderr.write(f"{error}\n")
        return NO_RUN
    if args.json is not None:
        args.json.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    sys.stdout.write(report(found))
    return SHORT if args.check and not all(row["holds"] for row in found["cases"] + found["sizes"]) else HOLDS


def cases() -> list[Case]:
    """Return all cases."""
    return [case for name in SUBJECTS for case in import_module(f"loadtest.detectors_bench.{name}").CASES]


def measure(chosen: Sequence[Case], rounds: int, only: str, *, peers: bool) -> dict[str, Any]:
    """Run everything and return it, ready for JSON. Rounds go over all cases, so that a busy minute hits them all.

    Raises:
        RuntimeError: the program of the other tools ended badly.
    """
    load = machine.load()
    wanted = [case for case in chosen if only in case.name]
    rates: dict[str, list[float]] = {case.name: [] for case in wanted}
    for number in range(1, rounds + 1):
        for case in wanted:
            rates[case.name].append(case.run())
        sys.stderr.write(f"round {number} of {rounds}\n")
        sys.stderr.flush()
    versions: dict[str, str] = {}
    whole: dict[str, float] = {}
    sides: list[beside.Side] = []
    if not only:
        versions, whole, sides = beside.windows(rounds, peers=peers and client.available())
        sides = [*beside.adwin(rounds), *sides]
    return {
        "command": "detectors",
        "machine": machine.fingerprint() | {"load_before": load, "load_after": machine.load()},
        "rounds": rounds,
        "versions": versions,
        "cases": [_case(case, rates[case.name]) for case in wanted],
        "sizes": [] if only else [asdict(s) | {"holds": s.target is None or s.bytes <= s.target} for s in sizes()],
        "other_bytes": whole,
        "beside": [asdict(side) | {"ratios": side.ratios} for side in sides],
    }


def _case(case: Case, rates: Sequence[float]) -> dict[str, Any]:
    middle = median(rates)
    return {
        "name": case.name,
        "unit": case.unit,
        "target": case.target,
        "per_cpu_second": {"min": min(rates), "median": middle, "max": max(rates)},
        "holds": case.target is None or middle >= case.target,
    }


def report(found: dict[str, Any]) -> str:
    """Return the result as text."""
    console = Console(width=WIDTH, force_terminal=False, highlight=False)
    on = found["machine"]
    with console.capture() as captured:
        console.print(
            f"{on['cpu']}, {on['cores']} cores; Python {on['python']}, numba {on['numba']}, numpy {on['numpy']}; "
            f"load {on['load_before']:.2f} to {on['load_after']:.2f}; {found['rounds']} rounds"
        )
        console.print(
            _table("Per CPU-second", ["case", "unit", "min", "median", "max", "target", ""], _rates(found["cases"]))
        )
        if found["sizes"]:
            lines = [
                [
                    s["what"],
                    f"{s['rows']:,}",
                    f"{s['bytes']:,}",
                    f"{s['target'] or '':,}" if s["target"] else "",
                    _verdict(s),
                ]
                for s in found["sizes"]
            ]
            lines += [
                [f"{tool}, one numeric column's profile", "1,000", f"{b:,.0f}", "", ""]
                for tool, b in found["other_bytes"].items()
            ]
            console.print(_table("Bytes of one feature in one pane", ["feature", "rows", "bytes", "target", ""], lines))
        if found["beside"]:
            headings = ["work", "beside", "driftline ms", "other ms", "other / driftline: min", "median", "max"]
            console.print(_table("CPU for the same work, median", headings, [_side(s) for s in found["beside"]]))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _rates(rows: Iterable[dict[str, Any]]) -> Iterable[list[str]]:
    for row in rows:
        spread = [f"{row['per_cpu_second'][k]:,.0f}" for k in ("min", "median", "max")]
        yield [row["name"], row["unit"], *spread, f"{row['target']:,.0f}" if row["target"] else "", _verdict(row)]


def _verdict(row: dict[str, Any]) -> str:
    if row["target"] is None:
        return ""
    return "holds" if row["holds"] else "SHORT"


def _side(side: dict[str, Any]) -> list[str]:
    ours = f"{1000 * median(side['ours_s']):,.3g}"
    if not side["ratios"]:
        return [side["work"], side["tool"], ours, side["note"], "", "", ""]
    low, middle, high = side["ratios"][0], median(side["ratios"]), side["ratios"][-1]
    return [
        side["work"],
        side["tool"],
        ours,
        f"{1000 * median(side['theirs_s']):,.3g}",
        f"{low:,.1f}",
        f"{middle:,.1f}",
        f"{high:,.1f}",
    ]


def _table(title: str, headings: Sequence[str], lines: Iterable[Sequence[str]]) -> Table:
    made = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for i, heading in enumerate(headings):
        made.add_column(heading, justify="left" if i < 2 else "right")  # noqa: PLR2004  # names first, then figures
    for line in lines:
        made.add_row(*line)
    return made
