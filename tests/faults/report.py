"""What the cells came to: a line for the terminal, a file for machines, and the generated part of docs/reliability.md."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import orjson

from loadtest import machine
from tests.faults.absences import KAFKA_BACK, KAFKA_BACK_S, KAFKA_LATE, KAFKA_LATE_S, REDIS_BACK, REDIS_BACK_S
from tests.faults.cell import Outcome
from tests.services.kafka import POM

if TYPE_CHECKING:
    from pathlib import Path

BEGIN, END = "<!-- faults -->", "<!-- end -->"
TARGETS = {
    "kill_to_commit_s": ("SIGKILL → first new commit of all its tasks", 8.0, "session time-out (6 s) + 2 s"),
    "term_to_commit_s": ("SIGTERM → first new commit of all its tasks", 2.0, "2 s"),
    KAFKA_BACK: ("broker back → caught up", KAFKA_BACK_S, f"{KAFKA_BACK_S:.0f} s"),
    KAFKA_LATE: (
        "the same, where a dynamic member of the classic protocol missed its session",
        KAFKA_LATE_S,
        f"{KAFKA_BACK_S:.0f} s + a session (6 s)",
    ),
    REDIS_BACK: ("Redis back → every task has committed", REDIS_BACK_S, f"{REDIS_BACK_S:.0f} s"),
    "commit_share": ("the fenced commit's share of a saturated worker's CPU, evaluators' too", 0.10, "10 %"),
    "commit_wall_share": ("the same of its time by the wall clock, Redis' work in it", math.inf, ""),
}
"""Series of figures that are shown: what they are, the most that they may be (inf: nothing is promised), and that in words."""
_AGAIN = 150
"""Characters of why a cell was played again."""
_WHY = 300
"""Characters of a reason that the page shows."""


@dataclass(slots=True)
class Run:
    """One run of the program. ``before``: the file of the one that it completes; its passes count, and its date and command stay."""

    arguments: list[str]
    outcomes: list[Outcome] = field(default_factory=list)
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))
    before: dict[str, Any] | None = None

    def passed(self) -> set[str]:
        """The names of the cells that need not be played; their outcomes are taken over."""
        done = [Outcome(**o) for o in (self.before or {"outcomes": []})["outcomes"] if o["verdict"] == "pass"]
        self.outcomes += done
        return {o.name for o in done}

    def add(self, outcome: Outcome) -> None:
        """Another cell was played."""
        for o in (self.before or {"outcomes": []})["outcomes"]:
            if o["name"] == outcome.name:
                outcome.again.append(f"{o['verdict']} at first: {o['why']}")
        self.outcomes.append(outcome)

    def told(self) -> dict[str, Any]:
        """Everything, as it is written to the file."""
        counts: Counter[str] = Counter()
        series: dict[str, list[float]] = {}
        for o in self.outcomes:
            if o.verdict == "pass":
                counts.update(o.counts)
            for name, values in o.samples.items():
                series.setdefault(name, []).extend(values)
        verdicts = Counter(o.verdict for o in self.outcomes if not o.caught)
        date, command = self.begun.isoformat(timespec="seconds"), " ".join(["python -m tests.faults", *self.arguments])
        first = self.before or {"date": date, "command": command, "wall_seconds": 0.0}
        return {
            "date": first["date"],
            "command": first["command"],
            "completed": [*first.get("completed", []), f"{date} by `{command}`"] if self.before else [],
            "machine": machine.fingerprint() | {"kafka": kafka_version(), "driftline": version("driftline")},
            "seconds": round(sum(o.seconds for o in self.outcomes), 1),
            "wall_seconds": round(first["wall_seconds"] + (datetime.now(UTC) - self.begun).total_seconds(), 1),
            "cells": {v: verdicts[v] for v in ("pass", "fail", "inconclusive")},
            "sabotages": {
                "caught": sum(o.verdict == "pass" for o in self.outcomes if o.caught),
                "played": sum(bool(o.caught) for o in self.outcomes),
            },
            "again": sum(bool(o.again) for o in self.outcomes),
            "counts": dict(counts),
            "figures": {name: figures(values) for name, values in sorted(series.items())},
            "outcomes": [asdict(o) for o in self.outcomes],
        }

    def write(self, path: Path) -> None:
        """Write the file."""
        path.write_bytes(orjson.dumps(self.told(), option=orjson.OPT_INDENT_2) + b"\n")


def kafka_version() -> str:
    """The broker's version, from the list of jars that the tests fetch."""
    text = POM.read_text().partition("<artifactId>kafka_2.13</artifactId>")[2]
    return text.partition("<version>")[2].partition("<")[0]


def figures(values: list[float]) -> dict[str, float]:
    """How many, and where they lie."""
    return {
        "n": len(values),
        "p50": round(quantile(values, 0.50), 4),
        "p99": round(quantile(values, 0.99), 4),
        "max": round(max(values), 4),
    }


def quantile(values: list[float], q: float) -> float:
    """The least value that at least this share does not exceed: never between two that were measured."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


def line(outcome: Outcome) -> str:
    """An outcome for the terminal: its evidence, and why it did not pass."""
    said = [f"{'':28} {outcome.verdict} in {outcome.seconds:.0f} s"]
    said += [f"{'':30} played again, because {why}" for why in outcome.again]
    said += [f"{'':30} {note}" for note in outcome.evidence]
    said += [f"{'':30} {name}: {figures(values)}" for name, values in outcome.samples.items()]
    said += [f"{'':30} ! {part}" for part in outcome.why.splitlines()]
    return "\n".join(said) + "\n"


def table(told: dict[str, Any]) -> str:
    """The sums."""
    cells, sabotages, counts = told["cells"], told["sabotages"], told["counts"]
    rows = [
        ("cells passed / failed / inconclusive", f"{cells['pass']} / {cells['fail']} / {cells['inconclusive']}"),
        ("cells played again", f"{told['again']}"),
        ("sabotages caught", f"{sabotages['caught']} of {sabotages['played']}"),
        ("kills survived", f"{counts.get('kills', 0):,}"),
        ("faults in all", f"{counts.get('faults', 0):,}"),
        ("records checked in cells that passed", f"{counts.get('events', 0):,}"),
        ("time", f"{told['wall_seconds'] / 60:.0f} minutes; {told['seconds'] / 60:.0f} of all cells together"),
    ]
    out = ["", "| | |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows), ""]
    measured = [(n, *TARGETS[n], f) for n, f in told["figures"].items() if n in TARGETS]
    if measured:
        out += ["| | samples | p50 | p99 | most | target |", "|---|---|---|---|---|---|"]
        for name, what, most, words, f in measured:
            shown = [f"{f[k]:.1%}" if name.endswith("share") else f"{f[k]:.2f} s" for k in ("p50", "p99", "max")]
            missed = "" if f["p99"] <= most else " (missed)"
            target = f"≤ {words}{missed}" if words else "none"
            out.append(f"| {what} | {f['n']} | {shown[0]} | {shown[1]} | {shown[2]} | {target} |")
        out.append("")
    return "\n".join(out)


def page(told: dict[str, Any]) -> str:
    """The generated part of the page."""
    m = told["machine"]
    where = (
        f"{m['cpu']} ({m['cores']} cores), {m['system']}, Python {m['python']}, Apache Kafka {m['kafka']}, "
        f"librdkafka {m['librdkafka']}, driftline {m['driftline']}"
    )
    played = [f"Played on {told['date'][:10]} by `{told['command']}`: {where}."]
    played += [f"What had not passed was played again on {one}." for one in told["completed"]]
    out = ["\n".join(played), table(told)]
    out += ["| cell | what happens | outcome | proof |", "|---|---|---|---|"]
    for o in told["outcomes"]:
        outcome = f"caught: {o['caught']}" if o["caught"] and o["verdict"] == "pass" else o["verdict"]
        proof = "; ".join(o["evidence"][:2]) if o["verdict"] == "pass" else o["why"]
        if o.get("again"):
            proof = f"played again ({'; '.join(why[:_AGAIN] for why in o['again'])}): {proof}"
        text = proof.replace("|", "/").replace("\n", " ")[:_WHY]
        out.append(f"| `{o['name']}` | {o['what']} | {outcome} | {text} |")
    return "\n".join(out) + "\n"


def refresh(path: Path, told: dict[str, Any]) -> None:
    """Put the figures into a page, between its marks."""
    text = path.read_text()
    head, _, rest = text.partition(BEGIN)
    _, mark, tail = rest.partition(END)
    if not mark:
        message = f"{path} has no place between {BEGIN} and {END}"
        raise ValueError(message)
    path.write_text(f"{head}{BEGIN}\n{page(told)}{END}{tail}")
