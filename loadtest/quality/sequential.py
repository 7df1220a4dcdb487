"""Sequential detectors on error bits with known truth: false alarms, and labels until a risen error rate is seen.

The error rate is 0.2. False alarms are counted on independent bits; on bits with autocorrelation 0.3 (a Markov chain);
and on independent bits whose rate follows a sine of 0.05 around 0.2 over 10,000 labels. A delay is the number of labels
from the change to the first alarm after it, that label included. The change comes after 5,000 labels (and up to 99 more, so that
it falls anywhere in a pane); what is not seen within 20,000 labels is missed, and has no part in the mean.

Detectors of river run through `detectors.sequential.River`, with river's defaults, on fewer labels: they are Python.
KSWIN is left out: it needs half a millisecond for a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from detectors.sequential import Adwin, Ddm, Dispersion, EDetector, River

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

RATE: Final = 0.2
CHANGES: Final = (0.3, 0.25)
"""What the error rate rises to."""
AUTOCORRELATION: Final = 0.3
SWING, PERIOD = 0.05, 10_000
"""The sine of the seasonal rate: amplitude, and labels to a period."""
ARL: Final = 100_000
PANE: Final = 100
"""Labels in a pane."""
LABELS: Final = {"compiled": 10_000_000, "river": 1_000_000, "slow": 500_000}
"""Labels on which false alarms are counted, by how fast a detector is."""
PIECES: Final = {"compiled": 100, "river": 10, "slow": 5}
"""These labels come in so many pieces, each with a new detector (and an estimated baseline of its own)."""
STREAMS: Final = {"compiled": 1_000, "river": 200, "slow": 60}
"""Streams with a change."""
BEFORE, LONGEST = 5_000, 20_000
"""Labels before a change, and until it counts as missed."""
_CHUNK: Final = 500
"""Labels fed at once while an alarm is waited for."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one detector did.

    `false_alarms`, `correlated` and `seasonal` are alarms per 100,000 labels; `low` and `high` bound the first with 95 %.
    `delay_03` and `delay_025` are mean delays in labels for 0.2 -> 0.3 and 0.2 -> 0.25, `missed_*` shares of streams.
    """

    detector: str
    false_alarms: float
    low: float
    high: float
    correlated: float
    seasonal: float
    delay_03: float
    missed_03: float
    delay_025: float
    missed_025: float
    labels: int


@dataclass(frozen=True, slots=True)
class _Contender:
    """A detector to measure: `make` returns a new one as a function from labels to a bool for each."""

    name: str
    speed: str
    make: Callable[[np.random.Generator], Callable[[NDArray[np.float64]], NDArray[np.bool_]]]


def _each(
    detector: Callable[[], Adwin | Ddm | River],
) -> Callable[[np.random.Generator], Callable[..., NDArray[np.bool_]]]:
    return lambda _: detector().update_each


def _known(_: np.random.Generator) -> Callable[[NDArray[np.float64]], NDArray[np.bool_]]:
    return EDetector(RATE, arl=ARL).update_each


def _estimated(rng: np.random.Generator, n: int, *, margin: bool) -> Callable[[NDArray[np.float64]], NDArray[np.bool_]]:
    baseline = rng.binomial(n, RATE) / n
    return EDetector(baseline, arl=ARL, baseline_n=n if margin else None).update_each


def _panes(detector: Adwin | EDetector) -> Callable[[NDArray[np.float64]], NDArray[np.bool_]]:
    """Feed whole panes; an alarm comes with a pane's last label."""

    def alarms(values: NDArray[np.float64]) -> NDArray[np.bool_]:
        sums = values.reshape(-1, PANE).sum(axis=1)
        found = np.zeros(len(values), np.bool_)
        found[PANE - 1 :: PANE] = detector.update_panes(np.full(len(sums), PANE), sums, sums)
        return found

    return alarms


def _dispersed() -> Callable[[NDArray[np.float64]], NDArray[np.bool_]]:
    """Feed whole panes as the engine does: no alarm from one pane alone, and bursts count for fewer labels."""
    detector, dispersion = EDetector(RATE, arl=ARL / PANE, confirm=2), Dispersion()

    def alarms(values: NDArray[np.float64]) -> NDArray[np.bool_]:
        found = np.zeros(len(values), np.bool_)
        for i, k in enumerate(values.reshape(-1, PANE).sum(axis=1).astype(int).tolist()):
            found[(i + 1) * PANE - 1] = detector.update_many(PANE, k, k, dispersion=dispersion.value)
            dispersion.update(PANE, k)
        return found

    return alarms


def contenders() -> Iterator[_Contender]:
    """Yield what is measured, in the order of the table."""
    yield _Contender("e-detector, baseline known", "compiled", _known)
    yield _Contender("e-detector, baseline from 10,000 labels", "compiled", partial(_estimated, n=10_000, margin=True))
    yield _Contender("e-detector, baseline from 2,000 labels", "compiled", partial(_estimated, n=2_000, margin=True))
    without = partial(_estimated, n=2_000, margin=False)
    yield _Contender("e-detector, baseline from 2,000 labels, no margin", "compiled", without)
    on_panes = partial(EDetector, RATE, arl=ARL / PANE)
    yield _Contender(f"e-detector on panes of {PANE}", "compiled", lambda _: _panes(on_panes()))
    yield _Contender(f"e-detector on panes of {PANE}, confirmed, dispersed", "compiled", lambda _: _dispersed())
    yield _Contender("ADWIN 0.002", "compiled", _each(Adwin))
    yield _Contender("ADWIN 0.1", "compiled", _each(partial(Adwin, 0.1)))
    yield _Contender(f"ADWIN 0.002 on panes of {PANE}", "compiled", lambda _: _panes(Adwin()))
    yield _Contender("DDM", "compiled", _each(Ddm))
    for name, speed in (
        ("HDDMA", "slow"),
        ("HDDMW", "slow"),
        ("PageHinkley", "river"),
        ("EDDM", "river"),
        ("ADWIN", "river"),
        ("DDM", "river"),
    ):
        # No bound on the series: what is measured is river's detector, not what forgetting does to it.
        yield _Contender(f"river {name}", speed, _each(partial(River, name, limit=1 << 60)))


def measure(seed: int, scale: float = 1.0) -> list[Row]:
    """Return one row per detector; `scale` multiplies the numbers of labels and streams (1.0: about two minutes)."""
    return [_row(contender, np.random.default_rng([seed, i]), scale) for i, contender in enumerate(contenders())]


def _row(contender: _Contender, rng: np.random.Generator, scale: float) -> Row:
    pieces = PIECES[contender.speed]
    labels = max(PANE, int(LABELS[contender.speed] * scale / pieces) // PANE * PANE)
    fewer = max(PANE, labels // 5 // PANE * PANE)  # the other rates are larger, and need less
    worlds = {independent: labels, correlated: fewer, seasonal: fewer}
    counts = {
        world: sum(int(contender.make(rng)(world(rng, n)).sum()) for _ in range(pieces)) for world, n in worlds.items()
    }
    rates = {world: counts[world] * 1e5 / (pieces * n) for world, n in worlds.items()}
    low, high = (bound * 1e5 / (pieces * labels) for bound in _poisson_interval(counts[independent]))
    delays = [_delays(contender, rng, after, max(1, int(STREAMS[contender.speed] * scale))) for after in CHANGES]
    means = [float(np.mean(d[d > 0])) if (d > 0).any() else float("nan") for d in delays]
    missed = [float(np.mean(d == 0)) for d in delays]
    return Row(
        detector=contender.name,
        false_alarms=rates[independent],
        low=low,
        high=high,
        correlated=rates[correlated],
        seasonal=rates[seasonal],
        delay_03=means[0],
        missed_03=missed[0],
        delay_025=means[1],
        missed_025=missed[1],
        labels=pieces * labels,
    )


def _delays(contender: _Contender, rng: np.random.Generator, after: float, streams: int) -> NDArray[np.int64]:
    """Return the delay in each stream, 0 where the change was missed."""
    delays = np.zeros(streams, np.int64)
    for i in range(streams):
        detect = contender.make(rng)
        change = BEFORE + int(rng.integers(0, PANE))
        values = independent(rng, BEFORE + _CHUNK + LONGEST)
        values[change:] = rng.random(len(values) - change) < after
        for start in range(0, len(values), _CHUNK):
            alarms = np.flatnonzero(detect(values[start : start + _CHUNK])) + start - change + 1
            if (alarms > 0).any():
                delays[i] = alarms[alarms > 0][0]
                break
        if delays[i] > LONGEST:
            delays[i] = 0
    return delays


def independent(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Return independent bits of rate 0.2."""
    return (rng.random(n) < RATE).astype(np.float64)


def correlated(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Return a Markov chain of bits with rate 0.2 and autocorrelation 0.3: each repeats the one before, or is drawn anew."""
    fresh = rng.random(n) >= AUTOCORRELATION
    fresh[0] = True
    return independent(rng, n)[np.maximum.accumulate(np.where(fresh, np.arange(n), 0))]


def seasonal(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Return independent bits whose rate follows a sine."""
    rate = RATE + SWING * np.sin(2 * np.pi * np.arange(n) / PERIOD)
    return (rng.random(n) < rate).astype(np.float64)


def _poisson_interval(count: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a Poisson mean (Garwood 1936)."""
    from scipy.stats import chi2  # noqa: PLC0415  # loaded late: half a second for this line

    return (float(chi2.ppf(0.025, 2 * count)) / 2 if count else 0.0), float(chi2.ppf(0.975, 2 * count + 2)) / 2
