"""How surprising a silence is to a stream that was there before: its past by the hour, and the score of a silence.

Idea: a silence is judged by what the stream itself does. How many rows would have come by now at its usual rate? How many came
at this time on the days before, and a week ago? Has it been as silent as this before?

Statistic: with no row in g windows, against n rows in T windows of the past, rows that come independently at one rate give
``P(0 of the n fall in the last g of T + g windows) = (1 + g/T)^-n`` (the conditional test of two Poisson rates). The score
is ``n ln(1 + g/T)``, the least of three pasts:

- the latest day with at least 100 rows (else two, four, seven days);
- the same time of the day, one, two and three days back: the day with most rows, so that one outage, or a weekend, excuses nothing;
- the same time a week ago.

The last two give ``n ln 2``. Either may have been up to two hours earlier or later, and two hours shorter at either end (a
silence below twelve hours: a sixth of it): pauses do not begin on the minute. So nights and weekends are learnt after the first.

What is left is how the stream is silent by its nature: the largest scores of its silences of the last 28 days. A silence is
*surprising* at level a when ``exp(-score / theta) < a`` and it is more than twice the third longest of these. Theta, at
least 1, is the mean of the exponential law that the latest of them follow, without the two longest, and two standard errors; it is
1 below eight silences.

Guarantee: at most a false alarms per window in expectation, where rows come independently at a rate that depends on the
hour of the week only. For other traffic theta is a help and no promise: at a level that allows 0.03 alarms in 46 days, traffic in
bursts (negative binomial, a third of the windows empty) gave 0.4 and a rate that wanders (log AR(0.97)) 0.7, in simulations
whose worlds the rule was also chosen on. The first pause of a kind (the first night, the first weekend, a holiday) is an alarm,
and an outage excuses a silence at the same hours a week later: one weekend looks no different.
A stream with rows in fewer than 12 windows is never judged. A stream that is silent for 28 days is forgotten.

Cost: 0.2 ms a look at a silent stream, however long a gap is, 1 us a window with rows; 0.5 to 3 KB of state a stream. There is
no merge: a silence is one of all partitions.

Reference: Przyborowski & Wilenski, Homogeneity of results in testing samples from Poisson series, Biometrika 31 (1940).

>>> past = Past()
>>> for window in range(100):
...     past.add(window * 600_000, (window + 1) * 600_000, 50)
>>> past.last == 60_000_000
True
>>> past.surprise([past.last + 600_000], 600_000, 1e-5)
0
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_HOUR = 3_600_000
_DAY, _WEEK = 24 * _HOUR, 168 * _HOUR
LEAST_WINDOWS = 12
"""Windows with rows before a stream is judged: two hours of the default ones, so that a smoke test is no stream."""
FORGET = 28 * _DAY
"""A silence after which a stream is no more: state is bounded, and four weeks is the longest habit that is told."""
_ENOUGH = 100
"""Rows that a recent rate rests on at least: its standard error is then a tenth."""
_KEPT, _JUDGED = 64, 8
"""Silences that are kept, and how many make a mean: its standard error is an eighth with 64, and a third with 8."""
_DAYS = 3
"""Days back that count: three, so that on a Monday the weekend is no habit."""
_TRIM, _SHIFTS = 6, 2
"""A pause may be shorter by a sixth at either end, by two slots at most, and as far off: its ends wander, and rows are known by
the slot only. With one slot, nights whose ends wander by 20 minutes alarm once in two months."""
_LONGEST = 8
"""Of the longest silences, so that when the longest is too long ago the next are known."""
_FIRSTS, _TWICE = 2, 2.0
"""A silence must be twice the longest but two: one outage is no habit, and the first night and the first weekend, whose like the
calendar excuses from then on, must not make a stream deaf for a month. Of m exponential ones the next is twice the third
longest with probability 12 / m^2."""


class Past(msgspec.Struct):
    """One stream. ``counts`` are rows by slot (an hour, or a window where that is longer), the newest last.

    ``first`` and ``last`` are the start of the first and the end of the last window with rows, ``spell`` where the present
    spell began, ``windows`` counts those with rows, up to ``LEAST_WINDOWS``; the latest ``silences`` are (end, score, score
    beyond the first window), the ``longest`` of 28 days (end, score). Times in ms.
    """

    first: int = -1
    last: int = -1
    spell: int = -1
    windows: int = 0
    slot: int = 0
    counts: list[int] = msgspec.field(default_factory=list)
    silences: list[tuple[int, float, float]] = msgspec.field(default_factory=list)
    longest: list[tuple[int, float]] = msgspec.field(default_factory=list)

    def add(self, start: int, end: int, rows: int) -> None:
        """Take ``rows`` of the window [start, end) in; windows come in order, one may come in parts."""
        length = _slot(end - start)
        if self.windows == 0:
            self.first = self.spell = start
            self.slot = start // length
            self.counts = [0]
        elif start > self.last:
            # A score may fall again, where a pause began before its time: what counts is how surprising it was.
            scores = self.scores(np.arange(self.last, start, end - start) + end - start, end - start)
            score = float(scores.max())
            if score > 0:
                score = round(score, 3)
                self.silences = [*self.silences, (start, score, round(score - float(scores[0]), 3))][-_KEPT:]
                self.longest = sorted([*self.longest, (start, score)], key=lambda s: -s[1])[:_LONGEST]
        if self.longest and min(self.longest)[0] <= end - FORGET:
            self.silences = [s for s in self.silences if s[0] > end - FORGET]
            self.longest = [s for s in self.longest if s[0] > end - FORGET]
        if end > self.last:
            self.windows = min(self.windows + 1, LEAST_WINDOWS)  # more is never asked
        ahead = start // length - self.slot
        if ahead:
            self.counts = [*self.counts, *[0] * min(ahead, _slots(length))][-_slots(length) :]
            self.slot = start // length
        self.counts[-1] += rows
        self.last = max(self.last, end)

    def expected(self, end: int, window: int) -> float:
        """The rows that would have come from ``last`` to ``end`` at the latest rate."""
        n, since = self._recent(_Rows.of(self, window))
        return n * (end - self.last) / max(1, self.last - since)

    def scores(self, ends: Sequence[int] | NDArray[np.int64], window: int) -> NDArray[np.float64]:
        """The score of a silence from ``last`` to each of ``ends`` (ascending, ms); ``window`` is its unit, ms."""
        rows = _Rows.of(self, window)
        ends = np.asarray(ends, np.int64)
        gap = ends - self.last
        n, since = self._recent(rows)
        found: NDArray[np.float64] = np.multiply(n, np.log1p(gap / max(1, self.last - since)))
        # The first day whose same hours do not reach into the silence itself.
        most = gap + _SHIFTS * rows.shift
        days = -(-most // _DAY) * _DAY
        lags = np.stack([*(days + more * _DAY for more in range(_DAYS)), np.full(len(ends), _WEEK)])
        seen = rows.before(self.last, ends, lags)
        seen[-1, most > _WEEK] = -1
        usual = seen[:_DAYS].max(axis=0)
        for past in (usual, seen[-1]):
            found = np.where(past >= 0, np.minimum(found, past * math.log(2)), found)
        return found

    def spread(self) -> float:
        """Theta: the mean of an exponential law of which ordinary silences have the scores, at least 1.

        Silences are whole windows: with c for the first and q the chance of each further one, scores have the mean c / (1 - q),
        beyond the first window c q / (1 - q), and theta = c / ln(1 / q). One further window is added to those that were.
        """
        ordinary = sorted(self.silences, key=lambda s: s[1])[:-_FIRSTS]
        m = len(ordinary)
        if len(self.silences) < _JUDGED:
            return 1.0
        whole, beyond = sum(s for _, s, _ in ordinary), sum(b for _, _, b in ordinary)
        first = (whole - beyond) / m
        theta = first / math.log((whole + first) / (beyond + first)) if first > 0 else beyond / m
        return max(1.0, theta * (1 + 2 / math.sqrt(m)))

    def surprise(self, ends: Sequence[int] | NDArray[np.int64], window: int, level: float) -> int | None:
        """The index of the first of ``ends`` at which the silence is surprising; None where it never is."""
        if self.windows < LEAST_WINDOWS or len(ends) == 0:
            return None
        n, since = self._recent(_Rows.of(self, window))
        if n * math.log1p((int(ends[-1]) - self.last) / max(1, self.last - since)) <= -math.log(level):
            return None  # its rate alone does not miss it yet: most looks end here
        scores = self.scores(ends, window)
        known = self.longest[_FIRSTS][1] if len(self.longest) > _FIRSTS else 0.0
        loud = (scores > -math.log(level) * self.spread()) & (scores > _TWICE * known)
        return int(np.argmax(loud)) if loud.any() else None

    def p_value(self, end: int, window: int) -> float:
        """How probable a silence up to ``end`` is."""
        return math.exp(-float(self.scores([end], window)[0]) / self.spread())

    def _recent(self, rows: _Rows) -> tuple[float, int]:
        """Rows of the latest day, or of the latest days that have enough of them, and where they begin."""
        for days in (1, 2, 4):
            since = max(rows.known, self.last - days * _DAY)
            n = rows.between(since, self.last)
            if n >= _ENOUGH:
                return float(n), since
        return float(sum(self.counts)), rows.known


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows by time: ``total`` at each of ``edges``; those of a slot are spread evenly over it. ``known`` is where they begin."""

    edges: NDArray[np.float64]
    total: NDArray[np.float64]
    known: int
    shift: int

    @classmethod
    def of(cls, past: Past, window: int) -> _Rows:
        """The rows of a stream whose windows have this length, ms."""
        length = _slot(window)
        begin = (past.slot + 1 - len(past.counts)) * length
        edges = begin + length * np.arange(len(past.counts) + 1, dtype=np.float64)
        known = max(past.first, begin)
        edges[0], edges[-1] = known, past.last
        total = np.zeros(len(edges))
        np.cumsum(past.counts, out=total[1:])
        return cls(edges, total, known, _HOUR if length == _HOUR else 0)

    def between(self, start: NDArray[np.int64] | int, end: NDArray[np.int64] | int) -> NDArray[np.float64]:
        """The rows in [start, end)."""
        at = np.interp(np.stack([start, end]), self.edges, self.total)
        return np.asarray(at[1] - at[0], np.float64)

    def before(self, start: int, ends: NDArray[np.int64], lags: NDArray[np.int64]) -> NDArray[np.float64]:
        """The rows in [start, end) as long ago as each of ``lags`` (int64[k, ends]), float64[k, ends]; -1: not known.

        The least that pauses may have been earlier, later or shorter.
        """
        trim = np.minimum(_SHIFTS * self.shift, (ends - start) // _TRIM)
        by = self.shift * np.arange(-_SHIFTS if self.shift else 0, _SHIFTS + 1 if self.shift else 1)[:, None, None]
        found = self.between(start - lags + trim + by, ends - lags - trim + by).min(axis=0)
        return np.where(start - lags - _SHIFTS * self.shift >= self.known, found, -1.0)


def forget_after(window: int) -> int:
    """The silence after which a stream of such windows is no more, a whole number of windows; ms."""
    return (max(FORGET, LEAST_WINDOWS * window) // window + 1) * window


def _slot(window: int) -> int:
    return max(_HOUR, window)


def _slots(length: int) -> int:
    """A week, what is looked at before it, and one slot that has only begun."""
    return -(-_WEEK // length) + _SHIFTS + 2
