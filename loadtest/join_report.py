"""The result of ``python -m loadtest join`` as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDTH = 150
_WHAT = {
    "remember_ns": ("remembering a prediction", "ns"),
    "label_ns": ("joining a label", "ns"),
    "redis_bytes": ("a waiting prediction in Redis", "bytes"),
    "labelled_redis_bytes": ("a labelled prediction in Redis", "bytes"),
    "memory_bytes": ("a waiting prediction in memory", "bytes"),
    "labelled_memory_bytes": ("a labelled prediction in memory", "bytes"),
    "load_s": ("loading all of them", "s"),
}


def report(found: dict[str, Any]) -> str:
    """The tables, with what they were measured on."""
    console = Console(width=WIDTH, force_terminal=False, highlight=False)
    on = found["machine"]
    with console.capture() as captured:
        console.print(
            f"{on['cpu']}, {on['cores']} cores; Python {on['python']}, numba {on['numba']}, numpy {on['numpy']}; "
            f"load {on['load_before']:.2f} to {on['load_after']:.2f}; {found['rounds']} rounds"
        )
        for title, headings, lines in (_times(found), _pauses(found), _bytes(found), _loading(found), _commits(found)):
            console.print(_table(title, headings, lines))
        largest = max(row["size"] for row in found["cases"])
        lines = [
            [*_WHAT[t["what"]], f"{t['median']:,.1f}", f"{t['target']:,.0f}", "holds" if t["holds"] else "SHORT"]
            for t in found["targets"]
        ]
        headings = ["what", "unit", "median", "target", ""]
        console.print(_table(f"Targets, binary, {largest:,} predictions", headings, lines))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


Text = tuple[str, list[str], list[list[str]]]


def _names(row: dict[str, Any]) -> list[str]:
    return [row["task"], f"{row['size']:,}"]


def _spread(values: dict[str, float], form: str = ",.0f") -> list[str]:
    return [format(values[k], form) for k in ("min", "median", "max")]


def _middle(row: dict[str, Any], form: str, *names: str) -> list[str]:
    return [format(row[name]["median"], form) for name in names]


def _times(found: dict[str, Any]) -> Text:
    headings = [
        "task",
        "predictions",
        "remember: min",
        "median",
        "max",
        "its log",
        "label: min",
        "median",
        "max",
        "its log",
    ]
    lines = [
        [
            *_names(row),
            *_spread(row["remember_ns"]),
            *_middle(row, ",.0f", "remember_log_ns", "steady_ns"),
            *_spread(row["label_ns"]),
            *_middle(row, ",.0f", "label_log_ns"),
        ]
        for row in found["cases"]
    ]
    return "CPU of one prediction and of one label, ns", headings, lines


def _pauses(found: dict[str, Any]) -> Text:
    headings = ["task", "predictions", "10,000 predictions", "10,000 labels", "forgetting an eighth"]
    names = "longest_remember_ms", "longest_label_ms", "forget_ms"
    lines = [[*_names(row), *_middle(row, ",.1f", *names)] for row in found["cases"]]
    return "Longest pauses, ms of CPU, medians", headings, lines


def _bytes(found: dict[str, Any]) -> Text:
    headings = ["task", "predictions", "log", "+ label", "Redis", "labelled", "arrays", "labelled", "process", "peak"]
    names = (
        "log_bytes",
        "label_log_bytes",
        "redis_bytes",
        "labelled_redis_bytes",
        "memory_bytes",
        "labelled_memory_bytes",
        "resident_bytes",
        "peak_bytes",
    )
    lines = [[*_names(row), *_middle(row, ",.1f", *names)] for row in found["cases"]]
    return "Bytes of one prediction, medians", headings, lines


def _loading(found: dict[str, Any]) -> Text:
    headings = ["task", "predictions", "min", "median", "max", "of it Redis", "s per million", "labelled", "peak bytes"]
    lines = [
        [
            *_names(row),
            *_spread(row["load_s"], ",.2f"),
            *_middle(row, ",.2f", "fetch_s"),
            f"{row['load_s']['median'] / row['size'] * 1e6:,.2f}",
            *_middle(row, ",.2f", "labelled_load_s"),
            *_middle(row, ",.1f", "load_peak_bytes"),
        ]
        for row in found["cases"]
    ]
    return "Loading after a restart, s", headings, lines


def _commits(found: dict[str, Any]) -> Text:
    headings = ["rows per commit", "predictions", "log", "+ label", "Redis", "labelled"]
    names = "log_bytes", "label_log_bytes", "redis_bytes", "labelled_redis_bytes"
    lines = [
        [f"{row['rows_per_commit']:,}", f"{row['size']:,}", *_middle(row, ",.1f", *names)] for row in found["commits"]
    ]
    return "Bytes of one prediction, binary, by how many a commit has", headings, lines


def _table(title: str, headings: Sequence[str], lines: Iterable[Sequence[str]]) -> Table:
    made = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for i, heading in enumerate(headings):
        made.add_column(heading, justify="left" if i == 0 else "right")
    for line in lines:
        made.add_row(*line)
    return made
