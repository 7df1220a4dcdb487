"""The tables that ``python -m loadtest quality`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

WIDTH = 150
"""Columns of a table that is not printed on a terminal."""


def text(found: Mapping[str, Any]) -> str:
    """Return the whole result as text; ``found`` is what ``command.measure`` returned."""
    console = Console(width=WIDTH, force_terminal=False, highlight=False)
    with console.capture() as captured:
        on = found["machine"]
        console.print(
            f"{on['cpu']}, {on['cores']} cores; Python {on['python']}; seed {found['seed']}, scale {found['scale']:g}"
        )
        versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
        console.print(f"beside {versions}" if versions else str(found["without_peers"]))
        for table in _tables(found):
            console.print()
            console.print(table)
        for check in found["checks"]:
            figure = "not measured" if check["figure"] is None else f"{check['figure']:.3g}"
            verdict = "holds" if check["holds"] else "SHORT"
            console.print(f"{verdict}: {check['what']}: {figure}, at most {check['most']:g}")
        console.print(f"{sum(found['seconds'].values()):.0f} s")
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _tables(found: Mapping[str, Any]) -> Iterable[Table]:
    yield _alarms(found["alarms"])
    yield _table(
        "Episodes per 28 days at a budget of 1 (20 features, hourly windows of 1,000 rows)",
        ["world", "reference", "rule", "months", "episodes", "95 %", "alarmed windows per 1,000", "verified"],
        [
            [
                r["world"],
                f"{r['days']} days",
                r["rule"],
                f"{r['months']}",
                f"{r['episodes']:.2f}",
                _between(r, ".2f"),
                f"{r['per_1000_windows']:.2f}",
                f"{r['verified']:.0%}",
            ]
            for r in found["episodes"]
        ],
    )
    yield _table(
        "Windows of 1,000 rows until a shift of one feature is seen, at that budget",
        ["shift", "world", "rule", "trials", "windows", "95 %", "missed", "rejecting windows"],
        [
            [
                r["shift"],
                r["world"],
                r["rule"],
                f"{r['trials']}",
                f"{r['windows']:.1f}",
                _between(r, ".1f"),
                f"{r['missed']}",
                f"{r['power']:.3f}",
            ]
            for r in found["delays"]
        ],
    )
    yield _power(found["power"])
    yield _sequential(found["sequential"])
    yield _levels(found["levels"])


def _alarms(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One line a tool and world, one column a length of window."""
    sizes = sorted({r["rows"] for r in rows})
    lines: dict[tuple[str, str], dict[int, str]] = {}
    for r in rows:
        said = f"{r['per_1000']:.1f} ({_between(r, '.1f')})" if not r["error"] else "failed"
        lines.setdefault((r["world"], r["tool"]), {})[r["rows"]] = said
    return _table(
        "Windows without drift that raise an alarm on at least one of 20 features, per 1,000 (95 %)",
        ["world", "tool", *(f"n = {n:,}" for n in sizes)],
        [[world, tool, *(cells.get(n, "") for n in sizes)] for (world, tool), cells in lines.items()],
    )


def _power(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One line a shift, one column a tool."""
    tools = list(dict.fromkeys(r["tool"] for r in rows))
    lines: dict[str, dict[str, str]] = {}
    for r in rows:
        lines.setdefault(r["shift"], {})[r["tool"]] = (
            "failed" if r["error"] else f"{r['share']:.2f} ({_between(r, '.2f')})"
        )
    return _table(
        "Share of windows of 1,000 rows that flag the feature that changed, each tool at its own false-alarm rate (95 %);\n"
        "driftline sees nulls by its quality check",
        ["shift", *tools],
        [[shift, *(cells.get(t, "") for t in tools)] for shift, cells in lines.items()],
    )


def _sequential(rows: Sequence[Mapping[str, Any]]) -> Table:
    return _table(
        "Sequential detectors on error bits: false alarms per 100,000 labels, mean delay in labels (share missed)",
        ["detector", "false alarms", "95 %", "correlated", "seasonal", "0.2 -> 0.3", "0.2 -> 0.25", "labels"],
        [
            [
                r["detector"],
                f"{r['false_alarms']:.2f}",
                _between(r, ".2f"),
                f"{r['correlated']:.1f}",
                f"{r['seasonal']:.1f}",
                _delay(r["delay_03"], r["missed_03"]),
                _delay(r["delay_025"], r["missed_025"]),
                f"{r['labels']:,}",
            ]
            for r in rows
        ],
    )


def _levels(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One line a shape and length of window, one column a level: the cell's rejections, its parts behind them."""
    levels = sorted({r["level"] for r in rows}, reverse=True)
    lines: dict[tuple[str, str], dict[float, str]] = {}
    for r in rows:
        parts = ", ".join("-" if r[k] is None else f"{r[k]:.2f}" for k in ("anderson", "chi2"))
        n = f"{r['n']:,}" + (" simulated" if r["simulated"] else "")
        lines.setdefault((r["shape"], n), {})[r["level"]] = f"{r['cell']:.2f} ({parts})"
    return _table(
        "Rejections of the cell test without drift, as a multiple of the level (Anderson-Darling, chi-squared)",
        ["shape", "n", *(f"level {level:g}" for level in levels)],
        [[shape, n, *(cells.get(level, "") for level in levels)] for (shape, n), cells in lines.items()],
    )


def _delay(mean: float | None, missed: float) -> str:
    said = "none seen" if mean is None else f"{mean:,.0f}"
    return f"{said} ({missed:.1%})" if missed else said


def _between(row: Mapping[str, Any], form: str) -> str:
    """Return an interval; one replication has none."""
    if row["low"] is None or row["high"] is None:
        return "none"
    return f"{format(max(0.0, row['low']), form)} to {format(row['high'], form)}"


def _table(title: str, headings: Sequence[str], lines: Iterable[Sequence[str]]) -> Table:
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for i, heading in enumerate(headings):
        made.add_column(heading, justify="left" if i < 2 else "right")  # noqa: PLR2004  # names first, then figures
    for line in lines:
        made.add_row(*line)
    return made
