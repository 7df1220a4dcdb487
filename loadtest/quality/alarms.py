"""How often a window without drift raises an alarm on at least one of 20 features: driftline's rule and others' defaults.

All tools see the same rows: a reference of 50,000 rows, then windows one after another. driftline is measured twice: against
that same reference, which has no event times, and against 28 days of hourly windows with event times, which is what its rule
asks for. Its budget is one episode per 28 days for drift alone. Only driftline knows a budget; the others have thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from river import drift

from detectors.decisions import Budget, compile_rule, level
from detectors.quality import CHECKS, quality_test
from loadtest.peers import client
from loadtest.quality import budget
from loadtest.quality.interval import share_interval
from loadtest.quality.slots import draw
from loadtest.quality.worlds import DAY_MS, FEATURES, HOUR_MS, MONDAY_MS, SHIFTS, Stream, features

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from loadtest.quality.worlds import Shift

HALF = Budget(0.5, 28 * DAY_MS)
"""A fast path that fires on one window takes half of its family's share."""
NULLS = next(shift for shift in SHIFTS if shift.nulls)
OWN = "driftline, one window"
REFERENCE_ROWS = 50_000
"""As in STATISTICS section 1."""
ROWS = (200, 1_000, 5_000, 50_000)
"""Lengths of windows."""
WORLDS = {"independent": ROWS, "ar": (1_000, 5_000), "daily": (1_000, 5_000)}
"""What is measured in which world: 50,000 rows an hour of other worlds would take too long."""
REFERENCES = 6
"""References that driftline is measured with in each world and length, each followed by 28 days (7 where rows are generated)."""
PEERS = {"evidently": 50, "nannyml js": 200, "nannyml ks+chi2": 200, "whylogs": 50}
"""Windows that each tool judges; evidently and whylogs need up to a CPU-second for one."""
LONGEST = 2_000_000
"""Rows that are generated for the other tools at most: fewer windows of 50,000 rows."""
RIVER = ("ADWIN", "PageHinkley")
"""river's detectors for the mean of numbers, which are fed value by value. KSWIN needs minutes for a window."""
RIVER_WINDOWS = 100
OWN_WINDOWS = 480 - budget.WARM
"""Windows of a trial in which ``budget.delays`` counts rejections."""
CATEGORICAL = [f.name for f in FEATURES if f.categorical]


@dataclass(frozen=True, slots=True)
class Rate:
    """Windows without drift that raised an alarm, per 1,000, with the 95 % interval; ``error`` where a tool failed."""

    tool: str
    world: str
    rows: int
    windows: int
    per_1000: float
    low: float
    high: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class Power:
    """Windows that flag the one feature that changed, as a share with its 95 % interval."""

    tool: str
    shift: str
    rows: int
    windows: int
    share: float
    low: float
    high: float
    error: str = ""


def _rate(tool: str, world: str, rows: int, hits: int, windows: int) -> Rate:
    low, high = share_interval(hits, windows)
    return Rate(tool, world, rows, windows, 1000 * hits / windows, 1000 * low, 1000 * high)


def driftline(seed: int, scale: float = 1.0) -> Iterator[Rate]:
    """Measure driftline's compiled rule: an alarm is a window in which some cell's alarm is confirmed."""
    references = max(2, round(REFERENCES * scale))
    for world, sizes in WORLDS.items():
        for rows in sizes:
            rng = np.random.default_rng([seed, rows, *world.encode()])
            for days in (0, budget.MONTH):
                if days and world in budget.ROWWISE and rows > sizes[0]:
                    continue  # 28 days of 5,000 rows an hour are generated row by row: minutes for a single reference
                shares, windows = [], 0
                for _ in range(references):
                    share, lived = _share(world, rows, days, rng)
                    shares.append(share)
                    windows += lived
                name = "driftline, 28 days" if days else "driftline, no times"
                yield _clustered(name, world, rows, windows, np.array(shares))


def _share(world: str, rows: int, days: int, rng: np.random.Generator) -> tuple[float, int]:
    """Return the share of alarmed windows after one reference, and how many windows were lived through."""
    subjects = budget.skeleton(rng, rows=REFERENCE_ROWS)
    lived_days = 28 if world not in budget.ROWWISE else 7
    everything = budget.history(world, subjects, rng, days + lived_days, rows)
    past = [w[: days * 24] for w in everything] if days else [s.counts[None, :] for s in subjects]
    reference = budget.reference_of(subjects, past, ordinary=bool(days))
    rule = compile_rule(reference, range(len(subjects)), budget.ONE, HOUR_MS)
    played = rule.play([w[days * 24 :] for w in everything], MONDAY_MS + days * 24 * HOUR_MS)
    alarmed: NDArray[np.bool_] = np.logical_or.reduce(played.alarms, axis=0)
    return float(alarmed.mean()), len(alarmed)


def _clustered(name: str, world: str, rows: int, windows: int, shares: NDArray[np.float64]) -> Rate:
    """The interval of a mean over references, whose alarms come together; never narrower than that of single windows."""
    mean = float(shares.mean())
    error = 1.96 * float(shares.std(ddof=1)) / len(shares) ** 0.5
    low, high = share_interval(round(mean * windows), windows)
    return Rate(
        name, world, rows, windows, 1000 * mean, 1000 * min(low, max(0.0, mean - error)), 1000 * max(high, mean + error)
    )


def own_power(delays: Iterable[budget.Delay]) -> Iterator[Power]:
    """Return how often a single window rejects, at the level of driftline's 2 of 3, in what was lived through for the delays.

    Nulls are left to ``missing_power``.
    """
    for row in delays:
        if row.rule == "2 of 3" and row.world == "independent" and row.shift != NULLS.name:
            windows = row.trials * OWN_WINDOWS
            low, high = share_interval(round(row.power * windows), windows)
            yield Power(OWN, row.shift, 1_000, windows, row.power, low, high)


def missing_power(seed: int, scale: float = 1.0) -> Power:
    """Measure the share of windows in which driftline's quality test sees 5 % nulls, one window deciding alone.

    Drift tests look at values and cannot see missing ones. The level is that of half of quality's part of a budget of 1 per
    28 days, with all checks of 20 features.
    """
    rows, windows = 1_000, max(3, round(200 * scale))
    subjects = budget.skeleton(np.random.default_rng([seed, 3]), rows=REFERENCE_ROWS)
    touched = next(s for s in subjects if s.name in NULLS.only)
    allowed = level(HALF, "quality", HOUR_MS, len(CHECKS) * len(subjects), (1, 1))
    drawn = draw(touched, np.random.default_rng([seed, 4]), windows, rows, shift=NULLS)
    hits = sum(
        r.check == "missing" and r.p_value is not None and r.p_value <= allowed
        for w in drawn
        for r in quality_test(touched, w)
    )
    low, high = share_interval(hits, windows)
    return Power(OWN, NULLS.name, rows, windows, hits / windows, low, high)


def peers(seed: int, scale: float = 1.0) -> tuple[dict[str, str], list[Rate], list[Power]]:
    """Ask the other tools; returns their versions, false alarms, and power at n = 1,000 in the feature that changes."""
    data: dict[str, dict[str, NDArray[np.float64] | NDArray[np.int64]]] = {}
    questions: list[client.Question] = []
    for world, sizes in WORLDS.items():
        rng = np.random.default_rng([seed, 0, *world.encode()])
        stream = Stream(world, rng)
        data[world] = stream.take(REFERENCE_ROWS, 28 * 24 * HOUR_MS)[1]
        for rows in sizes:
            longest = min(max(PEERS.values()), LONGEST // rows)
            columns = stream.take(rows * longest, HOUR_MS * longest)[1]
            for tool, most in PEERS.items():
                windows = max(3, round(min(most, longest) * scale))
                name = f"{world} {rows} {windows}"
                data[name] = {k: v[: rows * windows] for k, v in columns.items()}
                questions.append(client.Question(tool, "alarms", world, name, rows))
    shifted = list(_shifted(data, seed, scale))
    versions, answers = client.ask([*questions, *(q for _, q in shifted)], data, CATEGORICAL)
    rates = []
    for question, answer in zip(questions, answers, strict=False):
        world, rows = question.reference, question.rows
        if answer.error:
            rates.append(Rate(question.tool, world, rows, 0, float("nan"), float("nan"), float("nan"), answer.error))
        else:
            rates.append(_rate(question.tool, world, rows, sum(map(bool, answer.alarms)), len(answer.alarms)))
    powers = []
    for (shift, question), answer in zip(shifted, answers[len(questions) :], strict=True):
        hits, windows = sum(map(bool, answer.alarms)), len(answer.alarms)
        low, high = share_interval(hits, windows) if windows else (float("nan"), float("nan"))
        share = hits / windows if windows else float("nan")
        powers.append(Power(question.tool, shift.name, question.rows, windows, share, low, high, answer.error))
    return versions, rates, powers


def _shifted(
    data: dict[str, dict[str, NDArray[np.float64] | NDArray[np.int64]]], seed: int, scale: float
) -> Iterator[tuple[Shift, client.Question]]:
    """Add the data of each shift, the changed feature alone, and yield the questions about it."""
    rows = 1_000
    for number, shift in enumerate(SHIFTS):
        rng = np.random.default_rng([seed, 1, number])
        changed = [f for f in FEATURES if shift.touches(f)]
        names = {f.name for f in changed}
        before, after = f"{shift.name} before", f"{shift.name} after"
        data[before] = {
            k: v for k, v in features("independent", rng, REFERENCE_ROWS, only=changed).items() if k in names
        }
        for tool, most in PEERS.items():
            windows = max(3, round(most * scale))
            made = features("independent", rng, rows * windows, only=changed, shift=shift)
            data[f"{after} {tool}"] = {k: v for k, v in made.items() if k in names}
            yield shift, client.Question(tool, "alarms", before, f"{after} {tool}", rows)


def river(seed: int, scale: float = 1.0) -> Iterator[Rate]:
    """Feed river's detectors with the numeric features value by value: an alarm is a window with any detection."""
    numeric = [f for f in FEATURES if not f.categorical]
    made: dict[str, Callable[[], Any]] = {n: getattr(drift, n) for n in RIVER}
    for world in WORLDS:
        rng = np.random.default_rng([seed, 2, *world.encode()])
        rows, windows = 1_000, max(3, round(RIVER_WINDOWS * scale))
        columns = Stream(world, rng, numeric).take(rows * windows, HOUR_MS * windows)[1]
        for name, new in made.items():
            alarmed = np.zeros(windows, bool)
            for feature in numeric:
                detector = new()
                for i, value in enumerate(columns[feature.name].tolist()):
                    detector.update(value)
                    if detector.drift_detected:
                        alarmed[i // rows] = True
            yield _rate(f"river {name}", world, rows, int(alarmed.sum()), windows)
