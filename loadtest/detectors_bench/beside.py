"""The same work on the same data by driftline and by the tool that people would otherwise use: CPU-seconds of each.

river runs in this process, the others in their own environment (``make peers``) with the same rows. The work is not always
the same in kind: evidently's report also prepares plots, whylogs' profile also holds quantiles of values that nobody binned.
The table says what was asked of each.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from river import drift as river_drift

from detectors.decisions import Budget, compile_rule
from detectors.reference import Reference
from detectors.sequential import Adwin
from loadtest.peers import client
from loadtest.quality.slots import count
from loadtest.quality.worlds import DAY_MS, FEATURES, HOUR_MS, MONDAY_MS, Stream, table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

SEED = 1
ROWS = 1_000
REFERENCE_ROWS = 50_000
WINDOWS = 20
"""Windows that a further nannyml chunk is averaged over."""
BITS = 200_000
"""Error bits for ADWIN, the rate rising from 0.2 to 0.3 in the middle."""
CATEGORICAL = [f.name for f in FEATURES if f.categorical]


@dataclass(frozen=True, slots=True)
class Side:
    """One piece of work: what driftline and another tool need for it, CPU-seconds by round; ``note`` where it was not run."""

    work: str
    tool: str
    ours_s: tuple[float, ...]
    theirs_s: tuple[float, ...]
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        """How many times as much CPU the other tool needs, ascending."""
        return sorted(theirs / ours for ours, theirs in zip(self.ours_s, self.theirs_s, strict=False))


def _spent(work: Callable[[], object], times: int = 1) -> float:
    begin = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - begin) / times


def adwin(rounds: int) -> list[Side]:
    """ADWIN with delta 0.002, value by value: driftline's compiled batch call and its single call, beside river's."""
    rng = np.random.default_rng(SEED)
    bits = (rng.random(BITS) < np.where(np.arange(BITS) < BITS // 2, 0.2, 0.3)).astype(np.float64)
    values = bits.tolist()

    def singly() -> None:
        detector = Adwin()
        for value in values:
            detector.update(value)

    new: Callable[[], Any] = river_drift.ADWIN

    def theirs() -> None:
        detector: Any = new()
        for value in values:
            detector.update(value)

    def together() -> NDArray[np.bool_]:
        return Adwin().update_each(bits)

    together()
    peer = tuple(_spent(theirs) for _ in range(rounds))
    return [
        Side(
            f"ADWIN over {BITS:,} bits, one call for all", "river", tuple(_spent(together) for _ in range(rounds)), peer
        ),
        Side(f"ADWIN over {BITS:,} bits, a call each", "river", tuple(_spent(singly) for _ in range(rounds)), peer),
    ]


def windows(rounds: int, *, peers: bool) -> tuple[dict[str, str], dict[str, float], list[Side]]:
    """Evaluate a window of 1,000 rows x 20 features, and count 50,000 rows; returns versions, whylogs' bytes, and sides."""
    stream = Stream("independent", np.random.default_rng(SEED))
    before = stream.take(REFERENCE_ROWS, 28 * DAY_MS)[1]
    after = stream.take(ROWS * WINDOWS, HOUR_MS * WINDOWS)[1]
    kinds = {f.name: "categorical" if f.categorical else "numeric" for f in FEATURES}
    reference = Reference.build(table(before), types=kinds)
    rule = compile_rule(reference, range(len(FEATURES)), Budget.parse("1 per 30d"), HOUR_MS)
    one = {name: values[:ROWS] for name, values in after.items()}

    def evaluate() -> None:
        vectors = [v[0] for v in count(reference.features, one, 1)]
        rule.judge({1: vectors}, MONDAY_MS)

    def profile() -> None:
        count(reference.features, before, 1)

    evaluate()
    ours = {
        "evaluate a window": tuple(_spent(evaluate, 10) for _ in range(rounds)),
        "profile the reference": tuple(_spent(profile) for _ in range(rounds)),
    }
    asked: Sequence[tuple[str, str, str]] = (
        (
            "evidently",
            "evaluate a window",
            f"window of {ROWS:,} rows x 20 features, DataDriftPreset report",
        ),
        (
            "nannyml",
            "evaluate a window",
            f"window of {ROWS:,} rows x 20 features, chunk, Jensen-Shannon",
        ),
        (
            "whylogs",
            "evaluate a window",
            f"window of {ROWS:,} rows x 20 features, drift of a ready profile",
        ),
        ("whylogs", "profile the reference", f"count {REFERENCE_ROWS:,} rows x 20 features, log()"),
    )
    if not peers:
        why = client.NOT_RUN if not client.available() else "left out"
        return {}, {}, [Side(title, tool, ours[work], (), why) for tool, work, title in asked]
    tools = ("evidently", "nannyml", "whylogs")
    questions = [client.Question(t, "speed", "before", "after", ROWS, rounds) for t in tools]
    versions, answers = client.ask(questions, {"before": before, "after": after}, CATEGORICAL)
    said = dict(zip(tools, answers, strict=True))
    made = [
        Side(title, tool, ours[work], tuple(r[work] for r in said[tool].rounds), said[tool].error)
        for tool, work, title in asked
    ]
    held = said["whylogs"].rounds
    return versions, {"whylogs": held[0]["state_bytes"]} if held else {}, made
