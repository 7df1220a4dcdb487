"""Does the false-alarm budget hold? Whole months played through the compiled rule, and how soon shifts are seen.

An episode is one incident: from the first alarm of a cell until none of the cells that alarmed has rejected for three
windows. Windows are hours, the budget for drift alone is one episode per 28 days. Where rows are independent given the hour,
a window's counts are drawn from their law (exact); autocorrelated worlds are generated row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from detectors.decisions import SHARES, Budget, compile_rule
from detectors.reference import Reference
from detectors.reference.habits import habit_of
from detectors.reference.ordinary import Ordinary
from detectors.reference.subject import Subject
from loadtest.quality.slots import build_reference, count, draw, probabilities
from loadtest.quality.worlds import (
    DAY_MS,
    FEATURES,
    HOUR_MS,
    MONDAY_MS,
    NO_DRIFT,
    SHIFTS,
    WANDER_SD,
    Shift,
    Stream,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detectors.decisions import Rule
    from loadtest.quality.worlds import Feature

MONTH = 28
"""Days of a played month, and of the long reference."""
ONE = Budget(1 / SHARES["drift"], MONTH * DAY_MS)
"""The budget whose drift share is one episode per 28 days."""
ROWWISE = frozenset({"ar", "both"})
"""Worlds that are generated row by row."""
WARM = 32
"""Windows before a shift: as many as the longest scale."""
CONTROL = "ordinary variation ignored"
"""The rule of the same reference without its times."""


@dataclass(frozen=True, slots=True)
class Months:
    """Episodes in played months: the mean and its 95 % interval (the months after one reference go together).

    `per_1000_windows` counts windows in which a cell alarms; `verified` is the share of references that call the budget verified.
    """

    world: str
    days: int
    rule: str
    months: int
    episodes: float
    low: float
    high: float
    per_1000_windows: float
    verified: float


@dataclass(frozen=True, slots=True)
class Delay:
    """Windows until a shift is seen: the mean with its 95 % interval, and the share of windows that reject alone."""

    shift: str
    rule: str
    trials: int
    windows: float
    low: float
    high: float
    missed: int
    power: float
    world: str = "independent"


def skeleton(
    rng: np.random.Generator, features: Sequence[Feature] = FEATURES, rows: int = 50_000
) -> tuple[Subject, ...]:
    """Return subjects with the bins that a reference of independent rows would have."""
    return build_reference("independent", rng, rows, features=features).features


def history(
    world: str, subjects: Sequence[Subject], rng: np.random.Generator, days: int, rows: int, shift: Shift = NO_DRIFT
) -> list[NDArray[np.int64]]:
    """Return the hourly slot vectors of some days of a world that begin on a Monday, int64[24 days, width] per subject."""
    windows = days * 24
    if world in ROWWISE:
        stream = Stream(world, rng, [f for f in FEATURES if f.name in {s.name for s in subjects}], MONDAY_MS)
        parts = [count(subjects, stream.take(24 * rows, DAY_MS, shift)[1], 24) for _ in range(days)]
        return [np.concatenate([part[i] for part in parts]) for i in range(len(subjects))]
    if world == "wandering":
        made = []
        for subject in subjects:
            means = np.cumsum(rng.standard_normal(windows)) * WANDER_SD / 24**0.5
            laws = np.array([probabilities(subject, shift, mean) for mean in means.tolist()])
            made.append(rng.multinomial(rows, laws).astype(np.int64))
        return made
    return [draw(s, rng, windows, rows, name=world, shift=shift) for s in subjects]


def reference_of(
    subjects: Sequence[Subject], windows: Sequence[NDArray[np.int64]], *, ordinary: bool = True
) -> Reference:
    """Return the reference that a table with these hourly windows would give; without times where not `ordinary`."""
    counted = tuple(
        Subject(s.name, s.kind, s.edges, s.categories, s.others, w.sum(axis=0))
        for s, w in zip(subjects, windows, strict=True)
    )
    starts = MONDAY_MS + np.arange(len(windows[0])) * HOUR_MS
    known = None
    if ordinary:
        habits = tuple(habit_of(s, w, starts, HOUR_MS) for s, w in zip(counted, windows, strict=True))
        known = Ordinary(HOUR_MS, MONDAY_MS, len(starts), habits)
    span = (MONDAY_MS, int(starts[-1]) + HOUR_MS - 1) if ordinary else None
    total = int(windows[0].sum())
    return Reference(counted, None, None, None, None, None, (), None, total, span, known)


def measure(
    world: str,
    *,
    days: int = MONTH,
    references: int = 10,
    months: int = 3,
    rows: int = 1000,
    features: Sequence[Feature] = FEATURES,
    seed: int = 1,
    control: bool = False,
) -> list[Months]:
    """Play `months` months after each of `references` references of `days` days; the rule as compiled, and scales off.

    `control` adds the rule that ignores the reference's ordinary variation.
    """
    rng = np.random.default_rng([seed, days, *world.encode()])
    subjects = skeleton(rng, features)
    found: dict[str, list[list[int]]] = {}
    windows: dict[str, int] = {}
    verified: dict[str, int] = {}
    for _ in range(references):
        everything = history(world, subjects, rng, days + MONTH * months, rows)
        past = [w[: days * 24] for w in everything]
        rules = _rules(subjects, past, control=control)
        for name, rule in rules.items():
            verified[name] = verified.get(name, 0) + rule.verified
            counts = []
            for month in range(months):
                first = (days + month * MONTH) * 24
                lived = [w[first : first + MONTH * 24] for w in everything]
                played = rule.play(lived, MONDAY_MS + first * HOUR_MS)
                counts.append(played.episodes)
                windows[name] = windows.get(name, 0) + int(played.alarms.any(axis=0).sum())
            found.setdefault(name, []).append(counts)
    total = references * months
    made = []
    for name, counts_by_reference in found.items():
        mean, low, high = _interval(np.array(counts_by_reference, float).mean(axis=1))
        rate = 1000 * windows[name] / (total * MONTH * 24)
        made.append(Months(world, days, name, total, mean, low, high, rate, verified[name] / references))
    return made


def delays(
    shift: Shift,
    *,
    world: str = "independent",
    trials: int = 100,
    references: int = 5,
    rows: int = 1000,
    features: Sequence[Feature] = FEATURES,
    seed: int = 1,
    longest: int = 480,
) -> list[Delay]:
    """Measure how many windows pass until a shift in a world is seen: scales, and 2 of 3.

    The trials are spread over several references of 28 days. Each lives through 32 windows without the shift first; one that
    is not seen within `longest` windows counts as `longest` and as missed.
    """
    rng = np.random.default_rng([seed, *shift.name.encode(), *world.encode()])
    subjects = skeleton(rng, features)
    touched = [i for i, s in enumerate(subjects) if not shift.only or s.name in shift.only]
    waited: dict[str, list[int]] = {}
    rejected: dict[str, int] = {}
    for share in np.array_split(np.arange(trials), references):
        rules = _rules(subjects, history(world, subjects, rng, MONTH, rows))
        for _ in range(len(share)):
            start = MONDAY_MS + int(rng.integers(24)) * HOUR_MS
            lived = [np.zeros((WARM + longest, s.width), np.int64) for s in subjects]
            # Only the features that change live: an alarm of another one would be a false alarm, not a short delay.
            for i in touched:
                lived[i] = _lived(world, subjects[i], rng, rows, longest, shift, start)
            for name, rule in rules.items():
                played = rule.play(lived, start)
                at = np.flatnonzero(played.alarms[touched, WARM:].any(axis=0))
                waited.setdefault(name, []).append(int(at[0]) + 1 if len(at) else 0)
                lately = played.rejects[touched, 2 * WARM :].any(axis=0)
                rejected[name] = rejected.get(name, 0) + int(lately.sum())
    made = []
    for name, counts in waited.items():
        mean, low, high = _interval(np.array([c or longest for c in counts], float))
        power = rejected[name] / (trials * (longest - WARM))
        made.append(Delay(shift.name, name, trials, mean, low, high, counts.count(0), power, world))
    return made


def _lived(  # what a trial lives through has seven sides
    world: str, subject: Subject, rng: np.random.Generator, rows: int, longest: int, shift: Shift, start: int
) -> NDArray[np.int64]:
    """Return the windows of one feature, int64[WARM + longest, width]; it shifts after `WARM` of them."""
    parts = ((WARM, NO_DRIFT), (longest, shift))
    if world in ROWWISE:
        stream = Stream(world, rng, [f for f in FEATURES if f.name == subject.name], start)
        return np.concatenate([count([subject], stream.take(n * rows, n * HOUR_MS, s)[1], n)[0] for n, s in parts])
    starts = (start, start + WARM * HOUR_MS)
    return np.concatenate(
        [
            draw(subject, rng, n, rows, name=world, shift=s, start_ms=at)
            for (n, s), at in zip(parts, starts, strict=True)
        ]
    )


def _rules(subjects: Sequence[Subject], past: Sequence[NDArray[np.int64]], *, control: bool = False) -> dict[str, Rule]:
    watched = range(len(subjects))
    reference = reference_of(subjects, past)
    rules = {
        "scales: auto": compile_rule(reference, watched, ONE, HOUR_MS),
        "2 of 3": compile_rule(reference, watched, ONE, HOUR_MS, scales="off"),
    }
    if control:
        rules[CONTROL] = compile_rule(reference_of(subjects, past, ordinary=False), watched, ONE, HOUR_MS)
    return rules


def _interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean and its normal 95 % interval."""
    mean = float(values.mean())
    error = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return mean, mean - error, mean + error


def results(scale: float = 1.0) -> dict[str, list[Any]]:
    """Return all tables; `scale` multiplies the number of references and trials (1.0: some ten minutes)."""
    few = max(2, round(10 * scale))
    episodes = [
        row
        for days in (MONTH, 7)
        for world in ("independent", "ar", "daily", "both", "weekly", "wandering")
        for row in measure(world, days=days, references=few, months=3 if scale >= 1 else 1, control=days == MONTH)
    ]
    trials = max(3, round(50 * scale))
    few = max(2, round(5 * scale))
    return {
        "episodes": episodes,
        "delays": [row for s in SHIFTS if not s.nulls for row in delays(s, trials=trials, references=few)],
        "delays elsewhere": [
            row
            for world in ("ar", "daily")
            for s in (SHIFTS[1], SHIFTS[2], SHIFTS[4])
            for row in delays(s, world=world, trials=trials, references=2, longest=96)
        ],
    }
