"""The end of the demo: what was injected, when it was detected, what was published, and how every record was counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from streams.demo.checks import checks, received_by_topic
from streams.demo.screen import clock
from streams.demo.world import PHASES, RULE_MINUTE, SHIFT_MINUTE, SHIFTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from streams.demo.told import Event, Told

_SUMMARY_CHARACTERS = 110
"""Of a summary in a table: the events themselves have the rest."""


def report(told: Told, console: Console) -> int:
    """Print the tables and every check; returns the exit status: 0 when all are right, else 1."""
    console.print()
    _print(console, "What was injected, and when it was noticed (event time)", _INJECTED, _injections(told))
    _print(console, "Events that were published", ("time", "type", "subject", "summary"), _events(told))
    _print(
        console, "Accuracy, measured by driftline on late labels", ("version", "period", "accuracy"), _accuracy(told)
    )
    _print(console, "How every record was accounted for", ("topic", "outcome", "records"), _ledger(told))
    console.print()
    found = checks(told)
    for check in found:
        mark = Text("right  ", "green") if check.right else Text("WRONG  ", "bold red")
        console.print(mark.append(check.name, "").append(f": {check.found}", "dim"), soft_wrap=True)
    wrong = sum(not check.right for check in found)
    text = f"{wrong} of {len(found)} checks went wrong" if wrong else "The story came out right"
    console.print(Text(f"\n{text}.", "bold red" if wrong else "bold green"))
    return 1 if wrong else 0


_INJECTED = ("what", "injected", "detected", "late by", "by")


def _injections(told: Told) -> list[tuple[str, ...]]:
    families = (("drift",), ("performance", "sequential"))
    rows: list[tuple[str, ...]] = []
    for phase, minute, watching in zip(PHASES[1:], (SHIFT_MINUTE, RULE_MINUTE), families, strict=True):
        opened = [e for e in told.opened("v1", *watching) if e.minute > minute]
        detected = opened[0].minute if opened else None
        what = f"{phase.title} ({', '.join(sorted(SHIFTED))})" if phase.begin_minute == SHIFT_MINUTE else phase.title
        first = ", ".join(e.name for e in opened if e.minute == detected)
        known = (
            (clock(detected), f"{detected - minute:.0f} min", first) if detected is not None else ("never", "-", "-")
        )
        rows.append((what, clock(minute), *known))
    return rows


def _events(told: Told) -> list[tuple[str, ...]]:
    return [(clock(e.minute), e.kind, f"{e.version} {e.name}".strip(), _short(e)) for e in _in_order(told.events)]


def _in_order(events: Sequence[Event]) -> list[Event]:
    return sorted(events, key=lambda e: (e.minute, e.kind, e.name))


def _short(event: Event) -> str:
    text = event.summary
    return text if len(text) <= _SUMMARY_CHARACTERS else f"{text[: _SUMMARY_CHARACTERS - 1]}…"


def _accuracy(told: Told) -> list[tuple[str, ...]]:
    end = float("inf")
    periods = [
        ("v1", p.title, p.begin_minute, n) for p, n in zip(PHASES, (SHIFT_MINUTE, RULE_MINUTE, end), strict=True)
    ]
    rows: list[tuple[str, ...]] = [("v1", "reference", f"{told.reference_accuracy:.3f}")]
    for version, title, first, last in [*periods, ("v2", "after retraining", 0, end)]:
        value = told.mean_accuracy(version, first, last)
        rows.append((version, title, "-" if value is None else f"{value:.3f}"))
    return rows


def _ledger(told: Told) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    received = received_by_topic(told)
    for topic, counts in told.counted.items():
        rows += [(topic, outcome, f"{n:,}") for outcome, n in sorted(counts.items(), key=lambda c: -c[1]) if n]
        if topic == "labels":
            rows.append((topic, "waiting", f"{told.waiting:,}"))
        rows.append((topic, "= received", f"{received[topic]:,} of {told.sent[topic].total():,} sent"))
    return rows


def _print(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold")
    numbers = {"accuracy", "records", "late by"}
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: what came from events must not be read as markup
    console.print(table)
